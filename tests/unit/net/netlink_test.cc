#include "net/netlink.h"

#include <catch2/catch.hpp>
#include <climits>

using namespace rayctl;
using namespace rayctl::net;

namespace {

std::vector<std::byte> copy(Bytes bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("a message reads back as it was built", "[net]") {
  Message message(16, 0);
  uint32_t fixed = 0x01020304;
  message.fixed(fixed).string(1, "eth0").u32(2, 1500).u8(3, 7).be16(4, 8472);
  message.nest(5, [&] { message.address(6, parse_address("10.0.0.1")).flag(7); });
  auto bytes = copy(message.finish(9, NLM_F_ACK));
  CHECK(bytes.size() % 4 == 0);
  int seen = 0;
  for_each_message(bytes, [&](const Answer& answer) {
    ++seen;
    CHECK(answer.type == 16);
    CHECK(answer.flags == (NLM_F_REQUEST | NLM_F_ACK));
    CHECK(answer.sequence == 9);
    CHECK(answer.fixed<uint32_t>() == fixed);
    Attributes attributes = answer.attributes(sizeof fixed);
    CHECK(attributes.string(1) == "eth0");
    CHECK(attributes.u32(2) == 1500u);
    CHECK(attributes.u8(3) == 7);
    CHECK(attributes.be16(4) == 8472);
    CHECK(attributes.u32(4) == std::nullopt);
    CHECK(attributes.nested(5).address(6) == parse_address("10.0.0.1"));
    CHECK(attributes.nested(5).find(7)->empty());
    CHECK_FALSE(attributes.find(8));
    return true;
  });
  CHECK(seen == 1);
}

TEST_CASE("lengths that lead outside end the list", "[net]") {
  Message message(16, 0);
  message.u32(1, 5).u32(2, 6);
  auto bytes = copy(message.finish(1));
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    int seen = 0;
    for_each_message(Bytes(bytes).first(cut), [&](const Answer&) { return ++seen, true; });
    CHECK(seen == 0);
  }
  uint16_t huge = 0xffff;
  std::memcpy(&bytes[16], &huge, 2);
  for_each_message(bytes, [&](const Answer& answer) {
    CHECK_FALSE(answer.attributes(0).find(1));
    CHECK_FALSE(answer.attributes(0).find(2));
    return true;
  });
  std::memset(&bytes[16], 0, 2);  // an attribute of length 0 would repeat for ever
  for_each_message(bytes, [&](const Answer& answer) {
    CHECK_FALSE(answer.attributes(0).find(2));
    return true;
  });
}

TEST_CASE("the kernel's own words are found in an error", "[net]") {
  Message message(NLMSG_ERROR, 0);
  nlmsgerr error{};
  error.error = -EINVAL;
  message.fixed(error).string(NLMSGERR_ATTR_MSG, "Invalid MTU");
  auto bytes = copy(message.finish(1, NLM_F_CAPPED | NLM_F_ACK_TLVS));
  for_each_message(bytes, [&](const Answer& answer) {
    Outcome outcome = parse_outcome(answer);
    CHECK(outcome.code == EINVAL);
    CHECK(outcome.text == "Invalid MTU");
    return true;
  });
  Answer shorter{NLMSG_ERROR, 0, 1, Bytes(bytes).first(3)};
  CHECK(parse_outcome(shorter).code == EBADMSG);
  for (int none : {1, -4096, INT_MIN}) {
    nlmsgerr wrong{};
    wrong.error = none;
    CHECK(parse_outcome({NLMSG_ERROR, 0, 1, std::as_bytes(std::span(&wrong, 1))}).code == EBADMSG);
  }
}

TEST_CASE("an attribute over 64 KiB is refused", "[net]") {
  Message message(16, 0);
  std::vector<std::byte> big(70000);
  CHECK_THROWS_WITH(message.bytes(1, big), Catch::Contains("an attribute of 70004 bytes"));
}
