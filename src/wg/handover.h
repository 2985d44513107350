// One process gives its link, sockets and sessions to its successor, so that an upgrade loses no packet: what
// comes meanwhile waits in the kernel's queues.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"
#include "wg/device.h"

namespace rayctl::wg {

// A device's memory as bytes; it holds keys and lives only in a memfd between two processes.
class DeviceState {
 public:
  static std::string save(const Device& device);
  // After set_table(); peers that the table doesn't have are left out. Throws on what it can't read.
  static void load(Device& device, const std::string& bytes, Moment now);
};

struct Belongings {
  Fd tun, v4, v6;  // v6 may be empty
  std::string interface = {}, netns = {};
  uint16_t listen_port = 0;
  uint32_t mark = 0;
  std::string state = {};
};

// Where a successor asks: DIRECTORY/handover, a socket for our own user only.
class HandoverDoor {
 public:
  explicit HandoverDoor(const std::string& directory);
  int fd() const { return fd_.get(); }
  // Somebody knocks: gives what `pack` returns.
  enum class Outcome {
    refused,  // it was no successor
    taken,    // it is all theirs
    unknown,  // it may be theirs: its session keys must not be used any more
  };
  Outcome answer(const std::function<Belongings()>& pack);

 private:
  Fd fd_;
};

class Inheritance {
 public:
  // Empty when the predecessor doesn't answer or speaks another version.
  static std::optional<Inheritance> ask(const std::string& directory);
  Belongings belongings;
  void confirm();  // the predecessor ends

 private:
  explicit Inheritance(Fd connection) : connection_(std::move(connection)) {}
  Fd connection_;
};

}  // namespace rayctl::wg
