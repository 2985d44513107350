// A local port that leads through a cluster's control channel to a container's port.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "cluster/operator_client.h"

namespace rayctl::cluster {

// What becomes of a local connection, decided by what it sent so far (at most 64 KiB).
struct GateVerdict {
  enum class Kind { more, pass, answer };
  Kind kind = Kind::more;
  std::string bytes =
      {};  // pass: what goes on in place of what came; answer: what is said before it is closed
};
using Gate = std::function<GateVerdict(std::string_view first_bytes)>;

// 127.0.0.1:PORT, TCP; 0: any free port.
Fd listen_locally(uint16_t port);

// Serves until SIGINT or SIGTERM (then it returns), or until the head is lost (an Error). Each connection is
// a request `dial` of its own; `gate` may be empty. `refused` makes what a client reads when the dial fails.
void forward_port(OperatorClient& client, Fd listener, const nlohmann::json& dial, const Gate& gate,
                  const std::function<std::string(const std::string& error)>& refused);

}  // namespace rayctl::cluster
