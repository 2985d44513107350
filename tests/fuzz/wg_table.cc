// The tunnel's table and status files, and what a predecessor hands over.
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "wg/handover.h"
#include "wg/tunnel_process.h"

using namespace rayctl;
using namespace rayctl::wg;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] % 3 == 0) {
      TunnelTable table = parse_tunnel_table(text, "fuzz");
      if (!(parse_tunnel_table(tunnel_table_text(table), "again") == table)) abort();
    } else if (data[0] % 3 == 1) {
      parse_tunnel_status(Json::parse(text, "fuzz"));
    } else {
      Device device;
      TunnelTable table;
      table.private_key.bytes.fill(1);
      TunnelPeer peer;
      peer.public_key.fill(9);
      table.peers = {peer};
      device.set_table(table, {});
      DeviceState::load(device, text, {});
    }
  } catch (const Error&) {
  }
  return 0;
}
