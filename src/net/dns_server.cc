#include "net/dns_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <set>

#include "base/error.h"
#include "net/dns_zone.h"

namespace rayctl::net {

namespace {

constexpr uint16_t dns_port = 53;
constexpr int datagrams_per_turn = 64;  // then others get theirs
constexpr int listen_queue = 64;
constexpr size_t query_limit = 4096;  // none is that long; what clients make us keep is bounded by it

Fd bound_socket(int type, const Address& address) {
  Fd fd{check(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "cannot open a socket")};
  int on = 1;
  check(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "cannot set up a socket");
  check(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "cannot set up a socket");
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(dns_port);
  std::memcpy(&place.sin_addr, address.bytes.data(), 4);
  check(bind(fd.get(), reinterpret_cast<sockaddr*>(&place), sizeof place), "cannot serve names on {}:{}/{}",
        to_string(address), dns_port, type == SOCK_DGRAM ? "udp" : "tcp");
  return fd;
}

std::string framed(const std::string& message) {
  std::string out = {static_cast<char>(message.size() >> 8), static_cast<char>(message.size() & 0xff)};
  return out + message;
}

}  // namespace

const Address& container_resolver() {
  static const Address address = parse_address("127.0.0.11");
  return address;
}

DnsSockets bind_dns(const Netns& netns, const Address& address) {
  DnsSockets sockets;
  netns.run([&] {
    sockets.udp = bound_socket(SOCK_DGRAM, address);
    sockets.tcp = bound_socket(SOCK_STREAM, address);
    check(listen(sockets.tcp.get(), listen_queue), "cannot listen on {}", to_string(address));
  });
  return sockets;
}

struct DnsServer::Namespace {
  std::string id;
  DnsSockets sockets;
  size_t forwards = 0;
  bool serving = true;
  std::set<std::shared_ptr<Connection>> connections = {};
};

struct DnsServer::Connection {
  std::shared_ptr<Namespace> space;
  Fd fd;
  std::string in = {}, out = {};
  bool busy = false;     // a query is being answered; the next waits in `in`
  bool pumping = false;  // an answer that comes at once must not recurse
  bool ended = false;    // the client sent its last byte
  uint64_t timer = 0;
};

DnsServer::DnsServer(Poller& poller, const DnsLimits& limits)
    : poller_(poller), limits_(limits), shuffle_(std::random_device{}()), forwarder_(poller) {}

DnsServer::~DnsServer() {
  for (auto& [id, space] : spaces_) close(*space);
}

void DnsServer::add(const std::string& id, DnsSockets sockets) {
  remove(id);
  auto space = std::make_shared<Namespace>(Namespace{id, std::move(sockets)});
  poller_.watch(space->sockets.udp.get(), EPOLLIN, [this, space](uint32_t) { on_datagrams(space); });
  poller_.watch(space->sockets.tcp.get(), EPOLLIN, [this, space](uint32_t) { on_connections(space); });
  spaces_[id] = space;
}

void DnsServer::remove(const std::string& id) {
  auto found = spaces_.find(id);
  if (found == spaces_.end()) return;
  auto space = found->second;
  spaces_.erase(found);
  close(*space);
}

void DnsServer::close(Namespace& space) {
  space.serving = false;
  poller_.forget(space.sockets.udp.get());
  poller_.forget(space.sockets.tcp.get());
  for (const auto& connection : std::set(space.connections)) end(connection);
  space.sockets.udp.reset();
  space.sockets.tcp.reset();
}

void DnsServer::drain() {
  for (auto& [id, space] : spaces_) {
    on_datagrams(space);
    on_connections(space);
    poller_.forget(space->sockets.udp.get());
    poller_.forget(space->sockets.tcp.get());
    space->sockets.tcp.reset();
    // Without SO_REUSEPORT's share: a connected socket takes no new query, and still sends.
    sockaddr_in nobody{};
    nobody.sin_family = AF_INET;
    nobody.sin_port = htons(1);
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(space->sockets.udp.get(), reinterpret_cast<sockaddr*>(&nobody), sizeof nobody) == 0)
      on_datagrams(space);  // what came in between
    else
      space->sockets.udp.reset();
  }
}

void DnsServer::on_datagrams(const std::shared_ptr<Namespace>& space) {
  std::array<char, dns_message_limit> buffer;
  for (int i = 0; i < datagrams_per_turn; ++i) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(space->sockets.udp.get(), buffer.data(), buffer.size(), 0,
                         reinterpret_cast<sockaddr*>(&from), &size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    handle(space, std::string(buffer.data(), static_cast<size_t>(n)), DnsTransport::udp,
           [space, from](const std::string& answer) {
             if (answer.empty() || !space->sockets.udp) return;
             sendto(space->sockets.udp.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                    reinterpret_cast<const sockaddr*>(&from), sizeof from);
           });
  }
}

const std::vector<std::string>* DnsServer::visible_to(const std::string& id) const {
  for (const DnsNamespace& c : table_.containers)
    if (c.id == id) return c.visible ? &*c.visible : nullptr;
  return nullptr;
}

void DnsServer::handle(const std::shared_ptr<Namespace>& space, std::string message, DnsTransport transport,
                       const Reply& reply) {
  DnsIncoming incoming = parse_dns_query(as_bytes(message));
  if (incoming.kind == DnsIncoming::Kind::silent) return reply("");
  const DnsQuery& query = incoming.query;
  if (message.size() > query_limit)
    return reply(write_dns_reply(query, {DnsCode::format_error}, query_limit));
  size_t limit = transport == DnsTransport::udp ? query.udp_size : dns_message_limit;
  if (incoming.kind == DnsIncoming::Kind::problem)
    return reply(write_dns_reply(query, {incoming.problem}, limit));
  if (auto own = answer_from_table(table_, query, shuffle_, visible_to(space->id)))
    return reply(write_dns_reply(query, *own, limit));
  if (space->forwards >= limits_.forwards_per_namespace || forwarder_.in_flight() >= limits_.forwards)
    return reply(write_dns_reply(query, {DnsCode::server_failure}, limit));
  ++space->forwards;
  forwarder_.start(std::move(message), query.question, transport,
                   [space, query, limit, reply](std::string answer) {
                     --space->forwards;
                     if (answer.empty())
                       return reply(write_dns_reply(query, {DnsCode::server_failure}, limit));
                     set_dns_id(answer, query.id);
                     answer.replace(dns_header_size, query.question.size(), query.question);
                     reply(answer.size() > limit ? truncate_dns_answer(answer, query.question) : answer);
                   });
}

// --- TCP ---

void DnsServer::on_connections(const std::shared_ptr<Namespace>& space) {
  for (;;) {
    Fd fd{accept4(space->sockets.tcp.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!fd) return;
    if (space->connections.size() >= limits_.connections_per_namespace) continue;  // closed at once
    auto connection = std::make_shared<Connection>(Connection{space, std::move(fd)});
    space->connections.insert(connection);
    poller_.watch(connection->fd.get(), EPOLLIN,
                  [this, connection](uint32_t events) { on_connection(connection, events); });
    connection->timer =
        poller_.at(Poller::Clock::now() + limits_.connection_idle, [this, connection] { end(connection); });
  }
}

void DnsServer::end(const std::shared_ptr<Connection>& connection) {
  if (!connection->fd) return;
  poller_.cancel(connection->timer);
  poller_.forget(connection->fd.get());
  connection->fd.reset();
  connection->space->connections.erase(connection);
}

// Sends what it can; false when the connection is no more.
bool DnsServer::flush(const std::shared_ptr<Connection>& connection) {
  while (!connection->out.empty()) {
    ssize_t n = send(connection->fd.get(), connection->out.data(), connection->out.size(),
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) return end(connection), false;
    connection->out.erase(0, static_cast<size_t>(n));
  }
  return true;
}

void DnsServer::on_connection(const std::shared_ptr<Connection>& connection, uint32_t events) {
  // Reported even when nobody asks for it, again and again.
  if (events & (EPOLLHUP | EPOLLERR)) return end(connection);
  if ((events & EPOLLOUT) && !flush(connection)) return;
  if (events & EPOLLIN) {
    std::array<char, 4096> buffer;
    ssize_t n = recv(connection->fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return end(connection);
    if (n == 0) connection->ended = true;
    if (n > 0) connection->in.append(buffer.data(), static_cast<size_t>(n));
  }
  pump(connection);
}

void DnsServer::pump(const std::shared_ptr<Connection>& connection) {
  if (connection->pumping || !connection->fd) return;
  connection->pumping = true;
  std::string& in = connection->in;
  while (connection->fd && !connection->busy && connection->out.empty() && in.size() >= 2) {
    size_t size = static_cast<size_t>(static_cast<uint8_t>(in[0])) << 8 | static_cast<uint8_t>(in[1]);
    if (size > query_limit) {
      connection->pumping = false;
      return end(connection);
    }
    if (in.size() < size + 2) break;
    std::string message = in.substr(2, size);
    in.erase(0, size + 2);
    connection->busy = true;
    poller_.cancel(connection->timer);  // the forwarder has its own limit
    handle(connection->space, std::move(message), DnsTransport::tcp,
           [this, connection](const std::string& answer) {
             if (!connection->fd) return;
             if (answer.empty()) return end(connection);  // not DNS
             connection->busy = false;
             connection->out = framed(answer);
             connection->timer = poller_.at(Poller::Clock::now() + limits_.connection_idle,
                                            [this, connection] { end(connection); });
             if (flush(connection)) pump(connection);
           });
  }
  connection->pumping = false;
  if (!connection->fd) return;
  bool waiting = connection->busy || !connection->out.empty();
  if (connection->ended && !waiting) return end(connection);
  // No reading while an answer is under way: a client that never reads gets no further. Level-triggered
  // readiness of an ended stream would spin.
  uint32_t events = 0;
  if (!connection->out.empty()) events |= EPOLLOUT;
  if (!waiting && !connection->ended) events |= EPOLLIN;
  poller_.change(connection->fd.get(), events);
}

}  // namespace rayctl::net
