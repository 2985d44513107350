#include "cluster/control_frame.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "cluster/control_backoff.h"
#include "cluster/control_pack.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;

TEST_CASE("frames survive any cutting", "[frame]") {
  std::string bytes;
  append_frame(bytes, FrameType::hello, 0, "{}");
  append_frame(bytes, FrameType::ping, 0, "");
  append_frame(bytes, FrameType::data, 7, std::string(300, 'x'));
  append_frame(bytes, FrameType::credit, 0xfffffffe, credit_payload(65536));
  CHECK(bytes.substr(0, 8) == std::string("\0\0\2\1\0\0\0\0", 8));
  for (size_t step = 1; step < 50; ++step) {
    FrameReader reader;
    std::string seen;
    for (size_t at = 0; at < bytes.size(); at += step) {
      reader.append(std::string_view(bytes).substr(at, step));
      while (auto frame = reader.next()) {
        seen +=
            fmt::format("{}:{}:{} ", static_cast<int>(frame->type), frame->channel, frame->payload.size());
        if (frame->type == FrameType::credit) CHECK(parse_credit(frame->payload) == 65536);
      }
    }
    CHECK(seen == "1:0:2 2:0:0 8:7:300 12:4294967294:4 ");
    CHECK(reader.buffered() == 0);
  }
}

TEST_CASE("a frame over its limit or of an unknown type ends the stream", "[frame]") {
  auto error = [](std::string bytes, size_t limit = 0) -> std::string {
    FrameReader reader;
    reader.limit(limit);
    reader.append(bytes);
    try {
      while (reader.next()) {
      }
      return "";
    } catch (const Error& e) {
      return e.message();
    }
  };
  CHECK(error(std::string("\0\0\0\0\0\0\0\0", 8)) == "a frame has the unknown type 0");
  CHECK(error(std::string("\0\0\0\x63\0\0\0\0", 8)) == "a frame has the unknown type 99");
  // Told from the header alone: nothing is gathered for it.
  CHECK(error(std::string("\xff\xff\xff\x04\0\0\0\1", 8)) ==
        "a frame of type 4 has 16777215 bytes: the limit is 262144");
  CHECK(error(std::string("\0\x40\x01\x08\0\0\0\1", 8)) ==
        "a frame of type 8 has 16385 bytes: the limit is 16384");
  CHECK(error(std::string("\0\0\1\x02\0\0\0\0", 8)) == "a frame of type 2 has 1 bytes: the limit is 0");
  CHECK(error(std::string("\0\x80\x01\x01\0\0\0\0", 8), max_greeting_size) ==
        "a frame of type 1 has 32769 bytes: the limit is 32768");
  CHECK(error(std::string("\0\0", 2)) == "");
  std::string out;
  CHECK_THROWS_WITH(append_frame(out, FrameType::notify, 0, std::string(max_message_size + 1, 'x')),
                    Contains("cannot send a message of 262145 bytes"));
  CHECK_THROWS_AS(parse_credit("abc"), Error);
}

TEST_CASE("what goes to many is packed", "[frame]") {
  std::string text(max_message_size, 'a');
  std::string packed = pack(text);
  CHECK(is_packed(packed));
  CHECK(packed.size() < 1000);
  CHECK(unpack(packed, max_message_size) == text);
  CHECK_THROWS_WITH(unpack(pack(text + "b"), max_message_size),
                    Contains("a packed message has 262145 bytes: the limit is 262144"));
  CHECK(pack("{}") == "{}");
  CHECK_FALSE(is_packed("{}"));
  CHECK(unpack("{}", max_message_size) == "{}");
  CHECK_THROWS_WITH(unpack(packed.substr(0, packed.size() - 1), max_message_size),
                    Contains("a packed message is damaged"));
  CHECK_THROWS_WITH(unpack(packed.substr(0, 5), max_message_size), Contains("doesn't tell its size"));
  // Two frames after one another: the first one's size isn't the whole's.
  CHECK_THROWS_AS(unpack(packed + packed, max_message_size), Error);
}

TEST_CASE("waits double up to a limit and are spread", "[backoff]") {
  using std::chrono::milliseconds;
  Backoff backoff{milliseconds(250), milliseconds(15000)};
  CHECK(retry_delay(backoff, 1, 0) == milliseconds(250));
  CHECK(retry_delay(backoff, 2, 0) == milliseconds(500));
  CHECK(retry_delay(backoff, 6, 0) == milliseconds(8000));
  CHECK(retry_delay(backoff, 7, 0) == milliseconds(15000));
  CHECK(retry_delay(backoff, 4'000'000'000U, 0) == milliseconds(15000));
  CHECK(retry_delay(backoff, 0, 0) == milliseconds(250));
  CHECK(retry_delay(backoff, 3, 0.5) == milliseconds(750));
  // A few come back at once, thousands over a while.
  CHECK(retry_delay(for_cluster(backoff, 0), 9, 0) == milliseconds(3000));
  CHECK(retry_delay(for_cluster(backoff, 2000), 9, 0) == milliseconds(6000));
  CHECK(retry_delay(for_cluster(backoff, 50000), 9, 0) == milliseconds(15000));
  CHECK(retry_delay(for_cluster({milliseconds(10), milliseconds(500)}, 3), 9, 0) == milliseconds(500));
  CHECK(retry_delay(backoff, 3, 0.999) == milliseconds(500));
}
