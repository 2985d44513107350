// Packets between link, device and sockets, in batches.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "wg/device.h"
#include "wg/offload.h"
#include "wg/tun.h"
#include "wg/udp_socket.h"

namespace rayctl::wg {

Moment moment();  // now

class DataPath {
 public:
  explicit DataPath(Device& device);

  // What to work with; may change at any time between the calls below.
  void use(Tun* tun, UdpSocket* v4, UdpSocket* v6);

  // Each does one bounded batch without waiting. False: there was nothing.
  bool from_link();
  bool from_socket(UdpSocket& socket);
  void work();  // handshakes, timers, and what became ready

 private:
  void send_frame(Peer& peer, Session& session, const Frame& frame, Moment now);
  void handle_frame(std::span<const uint8_t> bytes, Moment now);
  void send_outbox();
  void send_out(Moment now);

  Device& device_;
  Tun* tun_ = nullptr;
  UdpSender sender_;
  std::optional<Coalescer> coalescer_;
  std::vector<uint8_t> frame_;
};

}  // namespace rayctl::wg
