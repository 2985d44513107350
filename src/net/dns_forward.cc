#include "net/dns_forward.h"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fd.h"
#include "net/dns_message.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds time_limit{4500};
constexpr size_t least_udp_attempts = 2;  // a datagram may get lost

uint16_t random_id() {
  uint16_t id = 0;
  while (getrandom(&id, sizeof id, 0) < 0 && errno == EINTR) {
  }
  return id;
}

int connect_to(int fd, const Upstream& server) {
  if (server.address.is_v4()) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server.port);
    std::memcpy(&address.sin_addr, server.address.bytes.data(), 4);
    return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(server.port);
  std::memcpy(&address.sin6_addr, server.address.bytes.data(), 16);
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

bool is_failure(DnsCode code) {
  return code != DnsCode::ok && code != DnsCode::no_such_name;
}

}  // namespace

struct DnsForwarder::Exchange {
  std::string query, question;
  DnsTransport transport;
  Done done;
  std::vector<Upstream> servers;
  size_t attempt = 0, attempts = 0;
  std::string failure = {};  // the last answer that was one: better than none
  uint16_t id = 0;
  Fd socket = {};
  uint64_t timer = 0;
  std::string out = {}, in = {};  // TCP

  const Upstream& server() const { return servers[attempt % servers.size()]; }
};

DnsForwarder::DnsForwarder(Poller& poller) : poller_(poller) {}

DnsForwarder::~DnsForwarder() {
  for (auto& [key, exchange] : exchanges_) close(*exchange);
}

void DnsForwarder::set_upstreams(std::vector<Upstream> upstreams) {
  upstreams_ = std::move(upstreams);
  memory_.keep(upstreams_);
}

void DnsForwarder::start(std::string query, std::string question, DnsTransport transport, Done done) {
  uint64_t key = next_key_++;
  auto exchange = std::make_unique<Exchange>();
  exchange->query = std::move(query);
  exchange->question = std::move(question);
  exchange->transport = transport;
  exchange->done = std::move(done);
  exchange->servers = memory_.order(upstreams_, transport, Poller::Clock::now());
  exchange->attempts = upstreams_.size();
  if (transport == DnsTransport::udp && !upstreams_.empty())
    exchange->attempts = std::max(exchange->attempts, least_udp_attempts);
  exchanges_.emplace(key, std::move(exchange));
  attempt(key);
}

void DnsForwarder::attempt(uint64_t key) {
  Exchange& exchange = *exchanges_.at(key);
  for (; exchange.attempt < exchange.attempts; ++exchange.attempt) {
    const Upstream& server = exchange.server();
    if (!open(key, exchange, server)) continue;
    auto limit = time_limit / static_cast<int>(exchange.attempts);
    exchange.timer = poller_.at(Poller::Clock::now() + limit, [this, key] { time_out(key); });
    return;
  }
  finish(key, exchange.failure);
}

bool DnsForwarder::open(uint64_t key, Exchange& exchange, const Upstream& server) {
  bool udp = exchange.transport == DnsTransport::udp;
  exchange.socket.reset(
      socket(server.address.family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!exchange.socket) return false;
  if (connect_to(exchange.socket.get(), server) < 0 && (udp || errno != EINPROGRESS)) return false;
  exchange.id = random_id();
  set_dns_id(exchange.query, exchange.id);
  if (udp) {
    if (send(exchange.socket.get(), exchange.query.data(), exchange.query.size(), MSG_NOSIGNAL) < 0)
      return false;
    poller_.watch(exchange.socket.get(), EPOLLIN, [this, key](uint32_t) { on_udp(key); });
  } else {
    size_t size = exchange.query.size();
    exchange.out = {static_cast<char>(size >> 8), static_cast<char>(size & 0xff)};
    exchange.out += exchange.query;
    exchange.in.clear();
    poller_.watch(exchange.socket.get(), EPOLLOUT, [this, key](uint32_t events) { on_tcp(key, events); });
  }
  return true;
}

void DnsForwarder::close(Exchange& exchange) {
  poller_.cancel(exchange.timer);
  if (exchange.socket) poller_.forget(exchange.socket.get());
  exchange.socket.reset();
}

void DnsForwarder::next(uint64_t key) {
  Exchange& exchange = *exchanges_.at(key);
  close(exchange);
  ++exchange.attempt;
  attempt(key);
}

void DnsForwarder::time_out(uint64_t key) {
  const Exchange& exchange = *exchanges_.at(key);
  memory_.silent(exchange.server(), exchange.transport, Poller::Clock::now());
  next(key);
}

void DnsForwarder::finish(uint64_t key, std::string answer) {
  auto node = exchanges_.extract(key);
  close(*node.mapped());
  node.mapped()->done(std::move(answer));
}

void DnsForwarder::take(uint64_t key, std::string answer) {
  const Exchange& exchange = *exchanges_.at(key);
  memory_.answered(exchange.server(), exchange.transport);
  if (!is_failure(dns_code(answer))) return finish(key, std::move(answer));
  exchanges_.at(key)->failure = std::move(answer);
  next(key);
}

void DnsForwarder::on_udp(uint64_t key) {
  Exchange& exchange = *exchanges_.at(key);
  std::array<char, dns_message_limit> buffer;
  for (;;) {
    ssize_t n = recv(exchange.socket.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 0) return next(key);  // refused, unreachable
    std::string_view answer(buffer.data(), static_cast<size_t>(n));
    // Anything else is a late answer or a forgery: go on waiting.
    if (answers_query(answer, exchange.id, exchange.question)) return take(key, std::string(answer));
  }
}

void DnsForwarder::on_tcp(uint64_t key, uint32_t events) {
  Exchange& exchange = *exchanges_.at(key);
  int fd = exchange.socket.get();
  if ((events & EPOLLOUT) && !exchange.out.empty()) {
    ssize_t n = send(fd, exchange.out.data(), exchange.out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return next(key);
    if (n > 0) exchange.out.erase(0, static_cast<size_t>(n));
    if (exchange.out.empty()) poller_.change(fd, EPOLLIN);
    return;
  }
  std::array<char, 16384> buffer;
  ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return next(key);
  exchange.in.append(buffer.data(), static_cast<size_t>(n));
  if (exchange.in.size() < 2) return;
  size_t size =
      static_cast<size_t>(static_cast<uint8_t>(exchange.in[0])) << 8 | static_cast<uint8_t>(exchange.in[1]);
  if (exchange.in.size() < size + 2) return;
  std::string answer = exchange.in.substr(2, size);
  if (!answers_query(answer, exchange.id, exchange.question)) return next(key);
  take(key, std::move(answer));
}

}  // namespace rayctl::net
