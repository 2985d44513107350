// Brings rayctl to a head that has no URL for it: over ssh, with the cluster's own key.
//
// The head's boot script asks http://127.0.0.1:7444/rayctl until it has a file with the right sha256. Here,
// that port is the far end of a tunnel: `ssh -R` leads it to a small server in this process. Nothing secret
// goes through it, and nothing that comes through it is trusted but by its hash; so that the host key, which
// nobody can know yet, is taken as it is, in a file of its own. All later connections check the key that the
// head reports over its control channel.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fleet/home.h"

namespace rayctl::fleet {

inline constexpr uint16_t delivery_port = 7444;  // on the head's loopback

// Serves one file at http://127.0.0.1:PORT/rayctl from a thread of its own.
class FileServer {
 public:
  explicit FileServer(const std::string& file);
  ~FileServer();
  uint16_t port() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Delivery {
 public:
  // Tries again and again, from a thread of its own, until it is destroyed. `login` may be one of several,
  // with commas between: each is tried in turn.
  Delivery(const Home& home, const std::string& file, const std::string& address, const std::string& logins);
  ~Delivery();
  std::string trouble() const;  // ssh's last words; empty when all is well

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The command line of the tunnel. Pure.
std::vector<std::string> delivery_argv(const Home& home, const std::string& address, const std::string& login,
                                       uint16_t local_port);

}  // namespace rayctl::fleet
