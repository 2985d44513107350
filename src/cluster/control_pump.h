// Joins channels with file descriptors and with each other.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "base/fd.h"
#include "cluster/control_channel.h"
#include "cluster/control_connection.h"

namespace rayctl::cluster {

// A process's stdio on this machine, seen from the supervisor: pipes, one end of a socket pair, or a pty
// (then the same fd twice, duplicated). Empty ones are left out.
struct LocalStdio {
  Fd in = {};   // written with what the channel brings; closed when the other side half-closes
  Fd out = {};  // read and sent on the main lane
  Fd err = {};  // read and sent on the error lane
};

// Runs until `out` and `err` came to their end (EIO of a pty counts as one) and all was handed to the
// channel; then calls `at_end`, from which the caller answers (exit code). A closed channel closes the fds at
// once and `at_end` is not called.
void pump_stdio(boost::asio::io_context& io, LocalStdio stdio, const ChannelPtr& channel,
                std::function<void()> at_end);

// Passes the request on to another connection and everything that flows, both ways, until its answer: the
// head between an operator and a node. Back-pressure goes through; a cancel by either side reaches the other.
void relay(const ChannelPtr& from, const ConnectionPtr& to, std::string_view name,
           const nlohmann::json& body);

}  // namespace rayctl::cluster
