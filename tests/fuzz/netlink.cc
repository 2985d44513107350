// Answers of the kernel, or of whoever poses as it.
#include "net/netlink.h"

#include <linux/rtnetlink.h>

#include "net/link.h"
#include "net/nft_encode.h"
#include "net/wireguard.h"

using namespace rayctl;
using namespace rayctl::net;

namespace {

void walk(Attributes attributes, int depth) {
  for (Attribute attribute; attributes.next(attribute);)
    if (depth < 4) walk(Attributes(attribute.value), depth + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes{reinterpret_cast<const std::byte*>(data), size};
  for_each_message(bytes, [](const Answer& answer) {
    parse_outcome(answer);
    parse_link(answer);
    walk(answer.attributes(sizeof(ifinfomsg)), 0);
    Attributes attributes = answer.attributes(sizeof(rtmsg));
    attributes.string(1);
    attributes.address(RTA_DST);
    attributes.mac(NDA_LLADDR);
    attributes.nested(RTA_METRICS).u32(RTAX_MTU);
    FoundWireguard found;
    parse_device(answer, found);
    decode_rule(answer.attributes(4));
    return true;
  });
  return 0;
}
