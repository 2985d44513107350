#include "cluster/control_local.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr size_t max_clients = 512;

// /etc/group, read by ourselves: a static program's getgrnam would load NSS modules of another libc.
std::optional<gid_t> group_id(std::string_view name) {
  auto text = read_file_if_exists("/etc/group", 4 << 20);
  for (const std::string& line : split(text.value_or(""), '\n')) {
    std::vector<std::string> fields = split(line, ':');
    if (fields.size() >= 3 && fields[0] == name)
      return static_cast<gid_t>(std::strtoul(fields[2].c_str(), nullptr, 10));
  }
  return std::nullopt;
}

}  // namespace

std::string control_socket_path(const std::string& run_dir) {
  return join(run_dir, "control.sock");
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw Error("cannot use socket '{}': its path is longer than {} bytes (choose a shorter --run-dir)", path,
                sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

struct LocalServer::Impl : std::enable_shared_from_this<LocalServer::Impl> {
  Impl(asio::io_context& io, std::string path, RequestTable& requests)
      : io(io), path(std::move(path)), requests(requests), listener(io), pause(io) {}

  void open();
  void wait_accept();
  void accept_some();
  Peer peer_of(int socket) const;

  asio::io_context& io;
  std::string path;
  RequestTable& requests;
  asio::posix::stream_descriptor listener;
  asio::steady_timer pause;
  std::set<ConnectionPtr> connections;
  bool stopped = false;
  ino_t inode = 0;
};

void LocalServer::Impl::open() {
  sockaddr_un address = unix_address(path);
  auto* raw = reinterpret_cast<const sockaddr*>(&address);
  Fd probe(check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "cannot make a socket"));
  if (connect(probe.get(), raw, sizeof address) == 0 || errno == EAGAIN)
    throw Error(
        "cannot listen on '{}': a supervisor answers there already (stop it first, or use another --run-dir)",
        path);
  unlink(path.c_str());
  Fd socket(check(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "cannot make a socket"));
  // Nobody may open it before its owner and mode are right: fchmod on the socket before bind sets the file's
  // mode.
  check(fchmod(socket.get(), 0600), "cannot protect '{}'", path);
  check(bind(socket.get(), raw, sizeof address), "cannot listen on '{}'", path);
  std::optional<gid_t> group = geteuid() == 0 ? group_id("rayctl") : std::nullopt;
  if (group) {
    check(chown(path.c_str(), 0, *group), "cannot give '{}' to group rayctl", path);
    check(chmod(path.c_str(), 0660), "cannot protect '{}'", path);
  }
  check(listen(socket.get(), 128), "cannot listen on '{}'", path);
  if (auto found = status(path)) inode = found->st_ino;
  listener.assign(socket.release());
  wait_accept();
}

// The file system let it in: root, the supervisor's own user, or the group.
Peer LocalServer::Impl::peer_of(int socket) const {
  ucred who{};
  socklen_t size = sizeof who;
  check(getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size), "cannot tell who connects to '{}'", path);
  bool admin = who.uid == 0 || who.uid == geteuid();
  return {.kind = admin ? Peer::Kind::admin : Peer::Kind::operator_,
          .id = {},
          .label = fmt::format("uid {}", who.uid),
          .uid = who.uid};
}

void LocalServer::Impl::wait_accept() {
  listener.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (!error && !self->stopped) self->accept_some();
                      });
}

void LocalServer::Impl::accept_some() {
  while (true) {
    Fd socket(connections.size() < max_clients
                  ? accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)
                  : -1);
    if (!socket) {
      bool busy = connections.size() >= max_clients || errno == EMFILE || errno == ENFILE || errno == ENOMEM;
      if (!busy) return wait_accept();
      pause.expires_after(std::chrono::milliseconds(200));
      pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (!error && !self->stopped) self->wait_accept();
      });
      return;
    }
    Peer peer = peer_of(socket.get());
    // Weak: this owns the connections, not they it.
    auto made = std::make_shared<std::weak_ptr<Connection>>();
    std::weak_ptr<Impl> weak = weak_from_this();
    Connection::Callbacks on;
    on.on_request = [weak](const Request& request, const ChannelPtr& channel) {
      if (auto self = weak.lock()) self->requests.dispatch(request, channel);
    };
    on.on_closed = [weak, made](const std::string&) {
      if (auto self = weak.lock()) self->connections.erase(made->lock());
    };
    ConnectionPtr connection = Connection::start(io, std::move(socket), nullptr, Connection::Origin::acceptor,
                                                 std::move(peer), std::move(on));
    *made = connection;
    connections.insert(connection);
  }
}

LocalServer::LocalServer(asio::io_context& io, const std::string& run_dir, RequestTable& requests)
    : impl_(std::make_shared<Impl>(io, control_socket_path(run_dir), requests)) {
  make_directories(run_dir, 0755);
  impl_->open();
}

LocalServer::~LocalServer() {
  impl_->stopped = true;
  boost::system::error_code ignored;
  impl_->listener.close(ignored);
  impl_->pause.cancel();
  // Only the one that we made: a successor may listen there already.
  if (auto found = status(impl_->path); found && found->st_ino == impl_->inode) unlink(impl_->path.c_str());
  auto open = impl_->connections;
  for (const auto& connection : open) connection->close("the supervisor stops");
}

}  // namespace rayctl::cluster
