#include "ray/unit_exec.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "cluster/control_pump.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

int signal_by_name(const std::string& name) {
  static const std::pair<const char*, int> known[] = {
      {"INT", SIGINT}, {"TERM", SIGTERM}, {"QUIT", SIGQUIT}, {"HUP", SIGHUP}};
  for (const auto& [text, number] : known)
    if (name == text) return number;
  throw Error("cannot pass on signal '{}': only INT, TERM, QUIT and HUP are", name);
}

run::ExecRequest parse_exec(const Json& body) {
  run::ExecRequest request;
  request.argv = body.at("argv").strings();
  if (request.argv.empty())
    request.argv = {"/bin/sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"};
  request.env = body.strings_or_empty("env");
  if (std::string user = body.string_or("user", ""); !user.empty()) request.user = user;
  if (std::string workdir = body.string_or("workdir", ""); !workdir.empty()) request.cwd = workdir;
  request.terminal = body.boolean_or("tty", false);
  return request;
}

// Answers once the process has ended and its output is sent; whichever comes last.
class ExecServer : public std::enable_shared_from_this<ExecServer> {
 public:
  ExecServer(asio::io_context& io, run::ExecSession session, cluster::ChannelPtr channel)
      : io_(io), session_(std::move(session)), news_(io, session_.fd()), channel_(std::move(channel)) {}
  ~ExecServer() { news_.release(); }  // the fd is the session's

  void begin(cluster::LocalStdio stdio) {
    auto self = shared_from_this();
    channel_->on_event([self](const Json& event) { self->take_event(event); });
    channel_->on_cancelled([self](const std::string&) { self->news_.cancel(); });
    cluster::pump_stdio(io_, std::move(stdio), channel_, [self] {
      self->output_ended_ = true;
      self->answer();
    });
    watch();
  }

 private:
  void take_event(const Json& event) {
    if (auto size = event.find("resize")) {
      std::vector<Json> numbers = size->items();
      if (numbers.size() != 2) throw Error("{}: expected [rows, columns]", size->path());
      session_.resize(static_cast<uint16_t>(numbers[0].size()), static_cast<uint16_t>(numbers[1].size()));
    }
    if (auto name = event.find("signal")) session_.signal(signal_by_name(name->string()));
  }

  void watch() {
    auto self = shared_from_this();
    news_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self](const boost::system::error_code& error) {
                       if (error) return;
                       try {
                         self->result_ = self->session_.poll();
                       } catch (const Error& e) {
                         return self->channel_->fail(e.message());
                       }
                       if (!self->result_) return self->watch();
                       self->answer();
                     });
  }

  void answer() {
    if (!result_ || !output_ended_ || channel_->closed()) return;
    const Exit& exit = result_->exit;
    channel_->respond({{"code", exit.signal ? 128 + *exit.signal : exit.code.value_or(1)}});
  }

  asio::io_context& io_;
  run::ExecSession session_;
  asio::posix::stream_descriptor news_;
  cluster::ChannelPtr channel_;
  std::optional<run::ExecResult> result_;
  bool output_ended_ = false;
};

}  // namespace

void serve_exec(asio::io_context& io, const run::ContainerDir& container, const Json& body,
                const cluster::ChannelPtr& channel) {
  run::ExecRequest request = parse_exec(body);
  cluster::LocalStdio stdio;
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  request.stdio = {in.read.get(), out.write.get(), err.write.get()};
  run::ExecSession session = container.exec(request);
  if (request.terminal) {
    stdio.in = session.share_terminal();
    stdio.out = stdio.in.duplicate();
  } else {
    stdio.in = std::move(in.write);
    stdio.out = std::move(out.read);
    stdio.err = std::move(err.read);
  }
  std::make_shared<ExecServer>(io, std::move(session), channel)->begin(std::move(stdio));
}

}  // namespace rayctl::ray
