#include "ray/dial.h"

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/control_address.h"
#include "cluster/control_pump.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds connect_time{5};

// Until the connection stands.
struct Dialing : std::enable_shared_from_this<Dialing> {
  Dialing(asio::io_context& io, Fd fd, std::string where, cluster::ChannelPtr channel)
      : io(io), where(std::move(where)), socket(io, fd.release()), timer(io), channel(std::move(channel)) {}

  void start() {
    auto self = shared_from_this();
    channel->on_cancelled([self](const std::string&) { self->end(); });
    timer.expires_after(connect_time);
    timer.async_wait([self](const boost::system::error_code& error) {
      if (error) return;
      self->channel->fail(fmt::format("cannot connect to {}: no answer", self->where));
      self->end();
    });
    socket.async_wait(asio::posix::stream_descriptor::wait_write,
                      [self](const boost::system::error_code& error) {
                        if (!error) self->connected();
                      });
  }

  void end() {
    timer.cancel();
    boost::system::error_code ignored;
    socket.close(ignored);
  }

  void connected() {
    timer.cancel();
    int code = 0;
    socklen_t size = sizeof code;
    getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size);
    if (code != 0) {
      channel->fail(fmt::format("cannot connect to {}: {}", where, SysError::describe(code)));
      return end();
    }
    Fd in(socket.release());
    Fd out = in.duplicate();
    cluster::pump_stdio(io, {.in = std::move(in), .out = std::move(out)}, channel,
                        [channel = channel] { channel->respond(nlohmann::json::object()); });
  }

  asio::io_context& io;
  std::string where;
  asio::posix::stream_descriptor socket;
  asio::steady_timer timer;
  cluster::ChannelPtr channel;
};

}  // namespace

void serve_dial(asio::io_context& io, const std::string& container_address, uint16_t port,
                const cluster::ChannelPtr& channel) {
  std::atomic<bool> stop{false};
  // An address, never a name: resolving costs nothing.
  auto found = cluster::resolve({container_address, port}, stop);
  std::string where = cluster::format_host_port({container_address, port});
  std::make_shared<Dialing>(io, cluster::begin_connect(found.at(0)), where, channel)->start();
}

}  // namespace rayctl::ray
