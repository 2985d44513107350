#include "net/path_mtu.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>

#include "net/address_plan.h"
#include "net/probe.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds limit{900};
constexpr size_t small_size = 84;

}  // namespace

std::vector<uint32_t> smaller_sizes(uint32_t mtu) {
  std::vector<uint32_t> sizes;
  // What is left of usual links below tunnels of others, the least last that every IPv4 link carries.
  for (uint32_t size : {8000u, 4000u, 2000u, 1420u, 1400u, 1380u, 1360u, 1340u, 1320u, 1300u, 1280u, 1240u,
                        1200u, 1100u, 1000u, 800u, 576u})
    if (size < mtu) sizes.push_back(size);
  return sizes;
}

std::vector<std::optional<uint32_t>> find_path_mtus(const std::vector<Peer>& peers, uint32_t mtu) {
  std::vector<ProbeTarget> targets;
  for (const Peer& peer : peers)
    for (size_t size : {small_size, size_t{mtu}}) targets.push_back({vtep_address(peer.subnet), size});
  std::vector<ProbeAnswer> answers = probe(targets, limit);
  std::vector<std::optional<uint32_t>> found(peers.size());
  std::vector<std::pair<size_t, uint32_t>> tried;
  targets.clear();
  for (size_t i = 0; i < peers.size(); ++i) {
    if (answers[2 * i + 1].time) found[i] = mtu;
    if (found[i] || !answers[2 * i].time) continue;
    std::vector<uint32_t> sizes = smaller_sizes(mtu);
    sizes.insert(sizes.begin(), mtu);  // once more: packets get lost for other reasons, too
    for (uint32_t size : sizes) {
      targets.push_back({vtep_address(peers[i].subnet), size});
      tried.push_back({i, size});
    }
  }
  if (targets.empty()) return found;
  answers = probe(targets, limit);
  for (size_t k = 0; k < tried.size(); ++k)
    if (auto [i, size] = tried[k]; answers[k].time) found[i] = std::max(found[i].value_or(0), size);
  return found;
}

std::vector<Peer> PathMtus::next(const std::vector<Peer>& peers, size_t most) {
  std::set<Subnet> there;
  std::vector<std::pair<uint64_t, const Peer*>> order;  // the smallest first
  for (const Peer& peer : peers) {
    there.insert(peer.subnet);
    auto asked = asked_.find(peer.subnet);
    order.emplace_back(asked == asked_.end() ? 0 : asked->second, &peer);
  }
  std::erase_if(narrow_, [&](const auto& entry) { return !there.contains(entry.first); });
  std::erase_if(asked_, [&](const auto& entry) { return !there.contains(entry.first); });
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Peer> chosen;
  ++turn_;
  for (size_t i = 0; i < std::min(most, order.size()); ++i) {
    chosen.push_back(*order[i].second);
    asked_[chosen.back().subnet] = turn_;
  }
  return chosen;
}

std::vector<std::string> PathMtus::take(const std::vector<Peer>& asked,
                                        const std::vector<std::optional<uint32_t>>& found, uint32_t mtu) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!found[i]) continue;  // it doesn't answer now: what was known stays
    auto known = narrow_.find(asked[i].subnet);
    uint32_t before = known == narrow_.end() ? mtu : known->second;
    if (*found[i] == before) continue;
    if (*found[i] >= mtu) {
      narrow_.erase(asked[i].subnet);
      lines.push_back(fmt::format("the way to {} takes packets of {} bytes again", asked[i].name, mtu));
      continue;
    }
    narrow_[asked[i].subnet] = *found[i];
    lines.push_back(fmt::format(
        "something on the way to {} drops packets of more than {} bytes and doesn't say so: none larger is "
        "sent there from now on",
        asked[i].name, *found[i]));
  }
  return lines;
}

void PathMtus::apply(std::vector<Peer>& peers) const {
  for (Peer& peer : peers)
    if (auto known = narrow_.find(peer.subnet); known != narrow_.end()) peer.path_mtu = known->second;
}

}  // namespace rayctl::net
