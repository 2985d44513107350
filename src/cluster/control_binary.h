// The head's own binary, handed out to machines that are about to join. It is no secret, and they know its
// hash.
#pragma once

#include "base/fd.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::cluster {

// Answers one HTTP request on a connected, non-blocking socket, beside everything else in this loop. At most
// 256 at a time (more are hung up on: whoever wants it tries again), each for at most ten minutes.
void hand_out_binary(boost::asio::io_context& io, Fd socket);

}  // namespace rayctl::cluster
