// A TUN link with virtio headers and offloads.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/fd.h"
#include "wg/offload.h"

namespace rayctl::wg {

struct Frame {
  VirtioHeader virtio = {};
  std::span<const uint8_t> packet = {};
};

class Tun {
 public:
  Tun() = default;
  // Makes the link, or takes the one that a predecessor left, in the network namespace `netns` (a path; "" =
  // ours). It stays when we die: its routes go on pointing at it, so that nothing finds another way.
  static Tun open(const std::string& name, const std::string& netns, uint32_t mtu);
  static Tun adopt(Fd fd, const std::string& name,
                   const std::string& netns);  // from a predecessor that lives

  // Sets MTU and "up" where they aren't as wanted; false when the link is gone or has another name.
  bool repair(uint32_t mtu);
  void remove();  // the link goes when the descriptor is closed

  int fd() const { return fd_.get(); }
  bool splits_udp() const { return udp_; }
  bool offloads() const { return tcp_; }

  static constexpr size_t frame_limit = sizeof(VirtioHeader) + 65536;
  // One frame into `buffer`; 0 when there is none, or when the link is gone (then repair() says so).
  size_t read(std::span<uint8_t> buffer);
  static Frame frame(std::span<const uint8_t> bytes);  // of what read() got, at least a virtio header long
  bool write(std::span<iovec> frame);                  // virtio header first; false when the link refuses it

 private:
  Tun(Fd fd, std::string name, std::string netns)
      : fd_(std::move(fd)), name_(std::move(name)), netns_(std::move(netns)) {}
  void set_offloads();

  Fd fd_;
  std::string name_, netns_;
  bool tcp_ = false, udp_ = false;
};

// Removes what a tunnel that was killed left behind; absent is fine.
void remove_tun(const std::string& name, const std::string& netns);

}  // namespace rayctl::wg
