// From this process to a head's control port, and no further than its greeting.
#pragma once

#include <chrono>
#include <functional>

#include "base/json.h"
#include "cluster/claim.h"
#include "cluster/control_connection.h"

namespace rayctl::cluster {

struct Dialed {
  ConnectionPtr connection;  // admitted: requests may go
  Json hello;                // the head's
};

// Blocks: every address of the name in turn, TLS, our greeting (which may depend on the connection), the
// head's. Throws Unreachable when nobody answers, Error when we refuse it or it refuses us, Interrupted.
Dialed dial_head(boost::asio::io_context& io, const HostPort& head, const TlsContext& tls,
                 const std::function<nlohmann::json(const Connection&)>& greeting,
                 std::chrono::milliseconds timeout);

// What each greeting of an operator has.
nlohmann::json operator_greeting(std::string_view kind);

}  // namespace rayctl::cluster
