// What a browser's request to the local dashboard port becomes.
#pragma once

#include <string>
#include <string_view>

#include "cluster/port_forward.h"

namespace rayctl::cli {

// Ray's dashboard runs jobs for whoever holds Ray's token, and this port adds the token: so it must serve the
// one browser that was given the key, and no other user of this machine, nor a web page that guesses the
// port.
struct DashboardGate {
  std::string key;    // in the printed URL; becomes a cookie
  std::string token;  // Ray's
  uint16_t port = 0;  // the local one

  std::string url() const;
  // A request with its own Authorization goes on as it is: Ray judges it. One with the key in its URL gets
  // the cookie; one with the cookie gets Ray's token. Others are told where the URL is. One request a
  // connection.
  cluster::GateVerdict judge(std::string_view first_bytes) const;
  static std::string refusal(int status, std::string_view text);  // a whole HTTP answer
};

}  // namespace rayctl::cli
