// Which upstream servers are silent: who waited for one once shouldn't wait for it with each name.
#pragma once

#include <chrono>
#include <vector>

#include "net/resolv_conf.h"

namespace rayctl::net {

enum class DnsTransport { udp, tcp };

// A server that let a query time out goes to the end of the list: for 5 s, and for twice as long each time it
// is found silent again, up to 60 s. Then one query tries it in its place, while others go on without it. An
// answer, whatever it says and whenever it comes, restores it.
class UpstreamMemory {
 public:
  using Clock = std::chrono::steady_clock;

  void keep(const std::vector<Upstream>& upstreams);  // forgets all others

  // In which order to ask now. Whoever takes it reports what became of each server that it asked.
  std::vector<Upstream> order(const std::vector<Upstream>& upstreams, DnsTransport transport,
                              Clock::time_point now);
  void silent(const Upstream& server, DnsTransport transport, Clock::time_point now);
  void answered(const Upstream& server, DnsTransport transport);

 private:
  struct Silence {
    Upstream server;
    DnsTransport transport;
    std::chrono::seconds pause;
    Clock::time_point until;  // it is tried again from then on
    bool on_trial = false;
  };
  Silence* find(const Upstream& server, DnsTransport transport);
  std::vector<Silence> silences_;
};

}  // namespace rayctl::net
