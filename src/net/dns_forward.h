// Queries for names that aren't ours, asked of the host's upstream servers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/poller.h"
#include "net/resolv_conf.h"
#include "net/upstream_memory.h"

namespace rayctl::net {

// Asks one server after the other: each attempt has its own socket (so its own random source port) and its
// own random id; only the server asked can answer, and only with this id and question. The next server is
// asked on silence, SERVFAIL, REFUSED and errors of the socket; all within 4.5 s, before clients' 5 s.
// Servers that were silent lately are asked last.
class DnsForwarder {
 public:
  explicit DnsForwarder(Poller& poller);
  ~DnsForwarder();
  DnsForwarder(const DnsForwarder&) = delete;
  DnsForwarder& operator=(const DnsForwarder&) = delete;

  void set_upstreams(std::vector<Upstream> upstreams);

  // `done` is called once, later or at once, with the answer (its id is anything) or with "" when no server
  // gave one.
  using Done = std::function<void(std::string answer)>;
  void start(std::string query, std::string question, DnsTransport transport, Done done);
  size_t in_flight() const { return exchanges_.size(); }

 private:
  struct Exchange;
  void attempt(uint64_t key);
  bool open(uint64_t key, Exchange& exchange, const Upstream& server);
  void next(uint64_t key);
  void time_out(uint64_t key);
  void on_udp(uint64_t key);
  void on_tcp(uint64_t key, uint32_t events);
  void take(uint64_t key, std::string answer);
  void finish(uint64_t key, std::string answer);
  void close(Exchange& exchange);

  Poller& poller_;
  std::vector<Upstream> upstreams_;
  UpstreamMemory memory_;
  std::map<uint64_t, std::unique_ptr<Exchange>> exchanges_;
  uint64_t next_key_ = 1;
};

}  // namespace rayctl::net
