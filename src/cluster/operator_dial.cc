#include "cluster/operator_dial.h"

#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/text.h"
#include "base/version.h"
#include "cluster/control_protocol.h"

namespace rayctl::cluster {

namespace {

using Clock = std::chrono::steady_clock;

// Shared with the callbacks, which may outlive one try.
struct Try {
  ConnectionPtr connection = {};
  std::optional<Json> hello = {};
  std::optional<std::string> closed = {};
  bool opened = false;
};

std::shared_ptr<Try> begin(boost::asio::io_context& io, const SocketAddress& address, const TlsContext& tls,
                           const std::function<nlohmann::json(const Connection&)>& greeting) {
  auto one = std::make_shared<Try>();
  std::weak_ptr<Try> weak = one;
  Connection::Callbacks on;
  on.on_open = [weak, greeting] {
    auto self = weak.lock();
    if (!self) return;
    self->opened = true;
    self->connection->hello(greeting(*self->connection));
  };
  on.on_hello = [weak](const Json& hello) {
    if (auto self = weak.lock()) self->hello = hello;
  };
  on.on_closed = [weak](const std::string& reason) {
    if (auto self = weak.lock()) self->closed = reason;
  };
  one->connection = Connection::start(io, begin_connect(address), &tls, Connection::Origin::connector, Peer{},
                                      std::move(on));
  return one;
}

}  // namespace

nlohmann::json operator_greeting(std::string_view kind) {
  return {{"protocol", protocol_version},
          {"version", version()},
          {"kind", kind},
          {"time", wall_now().time_since_epoch().count()}};
}

Dialed dial_head(boost::asio::io_context& io, const HostPort& head, const TlsContext& tls,
                 const std::function<nlohmann::json(const Connection&)>& greeting,
                 std::chrono::milliseconds timeout) {
  std::string where = format_host_port(head);
  auto end = Clock::now() + timeout;
  std::atomic<bool> stop{false};
  std::vector<SocketAddress> addresses;
  try {
    addresses = resolve(head, stop, std::min(timeout, std::chrono::milliseconds(5000)));
  } catch (const Error& e) {
    throw Unreachable("{}", e.message());
  }
  std::string error = "no address is known";
  for (size_t i = 0; i < addresses.size(); ++i) {
    // Each address has its share of the time that is left.
    auto share = (end - Clock::now()) / static_cast<int64_t>(addresses.size() - i);
    auto until = Clock::now() + share;
    std::shared_ptr<Try> one;
    try {
      one = begin(io, addresses[i], tls, greeting);
    } catch (const SysError& e) {  // no route, no such family: perhaps another address
      error = e.message();
      continue;
    }
    io.restart();
    while (!one->hello && !one->closed && Clock::now() < until) {
      io.run_one_for(std::chrono::milliseconds(100));
      throw_if_interrupted();
    }
    if (one->hello) {
      if (auto reason = one->hello->find("refused"))
        throw Error("the head {} refuses: {}", where, printable(reason->string()));
      if (one->hello->at("protocol").size() != protocol_version)
        throw Error("cannot use the head {}: it runs another version of rayctl (use the same here)", where);
      one->connection->admit({.kind = Peer::Kind::head, .id = {}, .label = "the head " + where});
      return {one->connection, *one->hello};
    }
    if (one->closed && one->connection->refused_certificate() == Refusal::foreign)
      throw Error("cannot use the head {}: {}", where, *one->closed);
    if (one->closed && one->opened)  // it took our certificate for a bad one, or ended
      throw Error("the head {} refuses: {}", where, *one->closed);
    error = one->closed ? *one->closed : fmt::format("no answer within {}", human_duration(share));
    one->connection->close("");
  }
  throw Unreachable("cannot reach the head {}: {}", where, error);
}

}  // namespace rayctl::cluster
