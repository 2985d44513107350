#include "net/upstream_memory.h"

#include <algorithm>

namespace rayctl::net {

namespace {

constexpr std::chrono::seconds first_pause{5}, longest_pause{60};
constexpr std::chrono::seconds trial_time{5};  // longer than any attempt lasts

}  // namespace

UpstreamMemory::Silence* UpstreamMemory::find(const Upstream& server, DnsTransport transport) {
  for (Silence& s : silences_)
    if (s.server == server && s.transport == transport) return &s;
  return nullptr;
}

void UpstreamMemory::keep(const std::vector<Upstream>& upstreams) {
  std::erase_if(silences_, [&](const Silence& s) {
    return std::find(upstreams.begin(), upstreams.end(), s.server) == upstreams.end();
  });
}

std::vector<Upstream> UpstreamMemory::order(const std::vector<Upstream>& upstreams, DnsTransport transport,
                                            Clock::time_point now) {
  std::vector<Upstream> first, last;
  for (const Upstream& server : upstreams) {
    Silence* silence = find(server, transport);
    if (silence && now < silence->until) {
      last.push_back(server);
      continue;
    }
    if (silence) {
      silence->on_trial = true;
      silence->until = now + trial_time;
    }
    first.push_back(server);
  }
  first.insert(first.end(), last.begin(), last.end());
  return first;
}

void UpstreamMemory::silent(const Upstream& server, DnsTransport transport, Clock::time_point now) {
  Silence* silence = find(server, transport);
  if (!silence) {
    silences_.push_back({server, transport, first_pause, now + first_pause});
    return;
  }
  // Many queries may have waited for it at the same time: they are one finding.
  if (!silence->on_trial && now < silence->until) return;
  silence->on_trial = false;
  silence->pause = std::min(silence->pause * 2, longest_pause);
  silence->until = now + silence->pause;
}

void UpstreamMemory::answered(const Upstream& server, DnsTransport transport) {
  std::erase_if(silences_, [&](const Silence& s) { return s.server == server && s.transport == transport; });
}

}  // namespace rayctl::net
