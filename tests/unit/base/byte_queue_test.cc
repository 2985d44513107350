#include "base/byte_queue.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/error.h"

using namespace rayctl;

TEST_CASE("bytes pass from thread to thread in order") {
  ByteQueue queue(2);
  std::string sent;
  for (int i = 0; i < 700000; ++i) sent += std::to_string(i);
  std::jthread writer([&] {
    for (size_t at = 0, step = 1; at < sent.size(); at += step, step = step * 3 % 100003 + 1)
      queue.write(as_bytes(std::string_view(sent).substr(at, step)));
    queue.finish();
  });
  std::string got;
  copy(
      queue.source(), [&](Bytes b) { got += as_text(b); }, 4099);
  CHECK(got == sent);
  CHECK(queue.take().empty());
}

TEST_CASE("an error of the writer reaches the reader") {
  ByteQueue queue;
  queue.write(as_bytes("x"));
  queue.fail(std::make_exception_ptr(Error("broken")));
  CHECK_THROWS_WITH(queue.take(), "broken");
}

TEST_CASE("a reader that ends wakes the writer") {
  ByteQueue queue(1);
  bool stopped = false;
  std::jthread writer([&] {
    try {
      for (;;) queue.put(queue.empty_block());
    } catch (const ByteQueue::Stopped&) {
      stopped = true;
    }
  });
  queue.take();
  queue.stop();
  writer.join();
  CHECK(stopped);
}

TEST_CASE("a writer may go on into the void") {
  ByteQueue queue(1);
  queue.discard();
  for (int i = 0; i < 10; ++i) queue.put(queue.empty_block());
  queue.finish();
  CHECK(queue.take().empty());
}
