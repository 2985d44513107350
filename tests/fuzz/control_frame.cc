// A control connection's bytes, as from a hostile peer: a real Connection at one end of a socket pair, before
// and after it was admitted. Whatever comes, it answers or closes, and keeps to its limits.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "cluster/control_connection.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  using namespace rayctl::cluster;
  if (size < 1 || size > (64 << 10)) return 0;
  set_log({.level = Level::error});
  boost::asio::io_context io;
  SocketPair pair = make_socket_pair(SOCK_STREAM | SOCK_NONBLOCK);
  RequestTable table;
  table.on("echo", Access::operate, [](const Request& request, const ChannelPtr& channel) {
    channel->on_data([channel](std::string_view bytes, Lane lane) {
      if (channel->writable() >= bytes.size()) channel->write(bytes, lane);
      channel->consumed(bytes.size());
    });
    channel->on_event([channel](const Json& event) { channel->write_event(event.raw()); });
    channel->on_end([channel, body = request.body] { channel->respond(body.raw()); });
  });
  table.on("keep", Access::operate, [](const Request&, const ChannelPtr&) {});
  Connection::Callbacks on;
  on.on_hello = [](const Json& hello) { hello.at("kind").string(); };
  on.on_request = [&](const Request& request, const ChannelPtr& channel) {
    table.dispatch(request, channel);
  };
  Peer peer{.kind = (data[0] & 1) != 0 ? Peer::Kind::operator_ : Peer::Kind::anonymous, .label = "fuzz"};
  auto connection = Connection::start(io, std::move(pair.first), nullptr, Connection::Origin::acceptor, peer,
                                      std::move(on));
  // Ours too: answers to them may come in any shape.
  if ((data[0] & 2) != 0) connection->request("ask", nlohmann::json::object(), [](const Reply&) {});
  io.poll();
  for (size_t at = 1; at < size && !connection->closed();) {
    ssize_t sent =
        send(pair.second.get(), data + at, std::min<size_t>(size - at, 1 + data[0] * 16), MSG_NOSIGNAL);
    if (sent <= 0) break;
    at += static_cast<size_t>(sent);
    io.restart();
    io.poll();
    char sink[4096];
    while (recv(pair.second.get(), sink, sizeof sink, 0) > 0) {
    }
  }
  if (connection->queued() > (16 << 20)) __builtin_trap();
  pair.second.reset();
  connection->close("");
  io.restart();
  io.poll();
  return 0;
}
