// Making changes durable, then telling everyone.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cluster/control_pack.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

namespace {

constexpr std::chrono::milliseconds commit_delay{3};  // one fsync for all that come meanwhile
// Also the most that waits in memory for a node that doesn't read: the next piece goes when this one is gone.
// Some 8 KiB, packed: a change that concerns thousands of nodes waits for thousands of nodes at the same
// time.
constexpr size_t piece_nodes = 128;
constexpr size_t told_at_once = 32;  // and what these are sent is gone before the next ones' is made

}  // namespace

void ControlServer::Impl::durable(std::function<void()> then) {
  after_commit.push_back(std::move(then));
  if (after_commit.size() > 1) return;
  durable_timer.expires_after(commit_delay);
  durable_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->stopped) return;
    auto waiting = std::exchange(self->after_commit, {});
    try {
      self->unpublished.merge(self->state.collect());
      self->state.commit();
    } catch (const Error& e) {  // nobody hears of what isn't on the disk; those who wait come again
      log_line(Level::error, e.message());
      return;
    }
    for (auto& call : waiting) call();
  });
}

void ControlServer::Impl::schedule_publish() {
  if (publish_scheduled || stopped) return;
  publish_scheduled = true;
  // A change that comes alone is told at once. A large cluster pays for each batch at every node.
  auto pause = std::max(config.batch, std::chrono::milliseconds(nodes.size() / 10));
  publish_timer.expires_at(std::max(Clock::now() + commit_delay, published + pause));
  publish_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    self->publish_scheduled = false;
    if (!error && !self->stopped) self->publish();
  });
}

void ControlServer::Impl::publish() {
  try {
    unpublished.merge(state.collect());
    state.commit();
  } catch (const Error& e) {  // the same as above; the next change tries again
    log_line(Level::error, e.message());
    return;
  }
  std::set<std::string> changed = std::exchange(unpublished, {});
  published = Clock::now();
  deltas.clear();
  view.cluster = state.cluster();
  view.version = state.members().version();
  for (const std::string& id : changed) {
    const Node* node = state.members().find(id);
    bool gone = !node || node->status == NodeStatus::expired || node->status == NodeStatus::removed;
    auto had = view.nodes.find(id);
    if (had != view.nodes.end() && (gone || had->second.status != node->status))
      info("node '{}' is {}", had->second.name, node ? status_name(node->status) : "forgotten");
    if (gone)
      view.nodes.erase(id);
    else
      view.nodes[id] = *node;
  }
  bool under_way = !behind.empty();
  behind.clear();
  for (const auto& [id, session] : nodes)
    if (session->sent_version != view.version) behind.push_back(session);
  if (!under_way) push_some();
  // Settings, policy and image are the cluster's: the head's own node follows them too.
  uint64_t cluster = state.members().cluster_version();
  bool cluster_changed = std::exchange(seen_cluster, cluster) != cluster;
  if ((!changed.empty() || cluster_changed) && callbacks.on_view) callbacks.on_view(view, changed);
}

void ControlServer::Impl::push_some() {
  for (size_t i = 0; i < told_at_once && !behind.empty(); ++i) {
    SessionPtr session = std::move(behind.back());
    behind.pop_back();
    push(session);
  }
  if (behind.empty()) return;
  boost::asio::post(io, [self = shared_from_this()] {
    if (!self->stopped) self->push_some();
  });
}

// Sends what the node lacks of what was published, as long as it reads: the state is versioned, so a slow
// node misses nothing by waiting.
void ControlServer::Impl::push(const SessionPtr& session) {
  if (state.members().changed() || !unpublished.empty()) schedule_publish();
  if (!session->answered) return;
  while (session->sent_version != view.version && session->connection->queued() == 0 &&
         !session->connection->closed()) {
    const Encoded& delta = encoded_delta(session->sent_version);
    const std::string& sent = session->packs ? delta.packed : delta.text;
    counters.bytes_of_state += sent.size();
    to_trim += sent.size();
    session->connection->notify_encoded(sent);
    session->sent_version = delta.to;
  }
}

const ControlServer::Impl::Encoded& ControlServer::Impl::encoded_delta(uint64_t from) {
  auto it = deltas.find(from);
  if (it != deltas.end()) return it->second;
  Encoded encoded;
  for (size_t limit = piece_nodes;; limit /= 2) {
    // What isn't on the disk yet is told by the publish that is due.
    Delta delta = delta_since(state.members(), from, limit, view.version);
    encoded.to = delta.to;
    encoded.text = nlohmann::json{{"name", "state"}, {"body", to_json(delta)}}.dump();
    if (encoded.text.size() <= max_message_size || limit <= 1) break;
  }
  encoded.packed = pack(encoded.text);
  return deltas.emplace(from, std::move(encoded)).first->second;
}

}  // namespace rayctl::cluster
