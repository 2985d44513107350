// The tunnel's UDP sockets: batches, segmentation and aggregation by the kernel where it has them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "wg/tunnel_table.h"

namespace rayctl::wg {

// Messages of one sender, one after the other: all of `segment` bytes but the last, which may be shorter.
struct Arrival {
  Endpoint from = {};
  std::span<uint8_t> bytes = {};
  size_t segment = 0;
};

// One socket of one family.
class UdpSocket {
 public:
  UdpSocket() = default;
  // Empty when the machine has no such family; throws when the port is taken.
  static std::optional<UdpSocket> open(int family, uint16_t port, uint32_t mark);
  static UdpSocket adopt(Fd fd, int family);

  int fd() const { return fd_.get(); }
  int family() const { return family_; }
  bool segments() const { return gso_; }
  bool aggregates() const { return gro_; }

  // What has come, without waiting; valid until the next call. Empty: nothing.
  std::span<Arrival> receive();

  struct Run {
    Endpoint to = {};
    const uint8_t* bytes = nullptr;
    size_t size = 0, segment = 0;
  };
  // Sends all; waits a little where the socket's buffer is full. Returns how many messages were lost.
  size_t send(std::span<const Run> runs);

 private:
  UdpSocket(Fd fd, int family);
  static constexpr unsigned arrivals_at_once = 8;
  struct Buffers;
  size_t send_batch(std::span<const Run> runs);
  size_t send_apart(const Run& run);

  Fd fd_;
  int family_ = AF_INET;
  bool gso_ = false, gro_ = false;
  std::shared_ptr<Buffers> buffers_;
  std::vector<Arrival> arrivals_;
};

// Collects messages and sends them in runs as long as the kernel takes them.
class UdpSender {
 public:
  UdpSender();

  // Room for one message of at most `size` bytes; to be followed by commit() with its true size.
  uint8_t* room(size_t size);
  void commit(const Endpoint& to, size_t size);
  size_t flush();  // returns how many messages were lost

  UdpSocket* v4 = nullptr;
  UdpSocket* v6 = nullptr;

 private:
  size_t flush_family(UdpSocket* socket, int family);

  std::vector<uint8_t> arena_;
  size_t used_ = 0;
  std::vector<UdpSocket::Run> runs_, chosen_;
  bool closed_ = true;  // the last run can't grow
  size_t lost_ = 0;
};

}  // namespace rayctl::wg
