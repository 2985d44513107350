#include "net/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <catch2/catch.hpp>

using namespace rayctl;
using net::Poller;

TEST_CASE("who is stopped is called no more, not even for what has happened already", "[poller]") {
  Poller poller;
  Fd one{eventfd(1, EFD_CLOEXEC)}, two{eventfd(1, EFD_CLOEXEC)};
  int calls = 0;
  bool stop = false;
  for (const Fd* fd : {&one, &two})
    poller.watch(fd->get(), EPOLLIN, [&](uint32_t) {
      ++calls;
      if (stop) poller.stop();
    });
  poller.run_once();
  CHECK(calls == 2);
  stop = true;
  poller.at(Poller::Clock::now(), [&] { ++calls; });
  poller.run_once();
  CHECK(calls == 3);
}

TEST_CASE("a descriptor that is forgotten within a round isn't called in it", "[poller]") {
  Poller poller;
  Fd one{eventfd(1, EFD_CLOEXEC)}, two{eventfd(1, EFD_CLOEXEC)};
  int calls = 0;
  poller.watch(one.get(), EPOLLIN, [&](uint32_t) { ++calls, poller.forget(two.get()); });
  poller.watch(two.get(), EPOLLIN, [&](uint32_t) { ++calls, poller.forget(one.get()); });
  poller.run_once();
  CHECK(calls == 1);
}
