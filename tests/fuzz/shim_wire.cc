// What a client of shim.sock may send: frames, and the requests in them.
#include "run/shim_wire.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::run;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (auto parse : {+[](std::string_view t) { return to_text(parse_request(t)); },
                     +[](std::string_view t) { return to_text(parse_reply(t)); }}) {
    std::string once;
    try {
      once = parse(text);
    } catch (const Error&) {
      continue;
    }
    if (parse(once) != once) std::abort();
  }
  if (size > 100'000) return 0;  // what a socket takes at once
  SocketPair sockets = make_socket_pair(SOCK_STREAM);
  Channel channel(std::move(sockets.first));
  if (send(sockets.second.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && size > 0) return 0;
  sockets.second.reset();
  try {
    channel.receive();
    while (auto frame = channel.next())
      if (frame->bytes.size() > max_message) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
