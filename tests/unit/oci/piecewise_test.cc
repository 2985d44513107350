#include "oci/piecewise.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;
using Catch::Matchers::Contains;

namespace {

std::string blob(size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>('a' + (i * 7 + i / 256) % 26);
  return bytes;
}

// A server that sends its pieces in parts, the later ones sooner.
struct Server {
  std::string bytes = blob(100'003);
  uint64_t fails_from = UINT64_MAX, no_ranges_from = UINT64_MAX;
  std::atomic<int> requests = 0, at_once = 0, most_at_once = 0;

  bool operator()(uint64_t first, uint64_t size, const Sink& take) {
    ++requests;
    int now = ++at_once;
    for (int most = most_at_once; now > most && !most_at_once.compare_exchange_weak(most, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds((first / 1000) % 3));
    bool ranges = first < no_ranges_from;
    try {
      for (uint64_t i = 0; ranges && i < size; i += 300)
        take(as_bytes(bytes).subspan(first + i, std::min<uint64_t>(300, size - i)));
      if (first + size > fails_from) throw Error("piece {} is lost", first);
    } catch (...) {
      --at_once;
      throw;
    }
    --at_once;
    return ranges;
  }
};

uint64_t fetch(Server& server, uint64_t at, std::string& got, const PiecewisePlan& plan = {4, 1000}) {
  return fetch_piecewise(at, server.bytes.size(), plan, std::ref(server),
                         [&](Bytes bytes) { got += as_text(bytes); });
}

}  // namespace

TEST_CASE("pieces come in order, from any start, over several connections", "[oci]") {
  for (uint64_t at : {0u, 1u, 999u, 99'000u, 99'500u, 100'002u}) {
    Server server;
    std::string got;
    CHECK(fetch(server, at, got) == server.bytes.size());
    CHECK(got == server.bytes.substr(at));
    CHECK(server.most_at_once <= 4);
  }
  Server server;
  std::string got;
  fetch(server, 0, got);
  CHECK(server.most_at_once > 1);
  CHECK(server.requests == 101);
}

TEST_CASE("a server without ranges is noticed at the first piece, and later ones too", "[oci]") {
  Server server;
  server.no_ranges_from = 0;
  std::string got;
  CHECK(fetch(server, 500, got) == 500);
  CHECK(got.empty());
  CHECK(server.requests == 1);

  Server later;
  later.no_ranges_from = 50'000;
  CHECK(fetch(later, 0, got) == 50'000);
  CHECK(got == later.bytes.substr(0, 50'000));
}

TEST_CASE("a lost piece ends the transfer after all that comes before it", "[oci]") {
  Server server;
  server.fails_from = 40'500;
  std::string got;
  CHECK_THROWS_WITH(fetch(server, 0, got), Contains("piece 40000 is lost"));
  CHECK(got == server.bytes.substr(0, 40'000));
  CHECK(server.requests < 50);
}

TEST_CASE("a receiver that can't take more ends the transfers", "[oci]") {
  Server server;
  size_t taken = 0;
  CHECK_THROWS_WITH(fetch_piecewise(0, server.bytes.size(), {3, 1000}, std::ref(server),
                                    [&](Bytes bytes) {
                                      if ((taken += bytes.size()) > 10'000) throw Error("no space left");
                                    }),
                    Contains("no space left"));
  CHECK(server.requests < 20);
}

TEST_CASE("only a large layer that outweighs the others gets several connections", "[oci]") {
  PiecewisePlan plan;
  CHECK(streams_for(500 << 20, 600 << 20, 4, plan) == 4);
  CHECK(streams_for(500 << 20, 600 << 20, 2, plan) == 2);
  CHECK(streams_for(500 << 20, 500 << 20, 4, plan) == 4);
  CHECK(streams_for(300 << 20, 600 << 20, 4, plan) == 1);
  CHECK(streams_for(20 << 20, 20 << 20, 4, plan) == 1);
}
