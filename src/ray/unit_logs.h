// A container's log, sent over a channel: what is there, and with `follow` what comes.
#pragma once

#include <string>

#include "base/json.h"
#include "cluster/control_channel.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// `query`: {tail, since_seconds, follow, timestamps}. Answers the channel with {} at the log's end; with
// `follow` it goes on, also over restarts of the container, until the channel is closed.
void stream_log(boost::asio::io_context& io, const std::string& directory, const Json& query,
                const cluster::ChannelPtr& channel);

// The last lines, at most `lines` and 4 KiB: for reports.
std::string log_tail(const std::string& directory, uint64_t lines);

}  // namespace rayctl::ray
