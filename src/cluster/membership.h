// Who belongs to the cluster and how each is: a state machine without clock, sockets or disk.
#pragma once

#include <chrono>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cluster/cluster.h"

namespace rayctl::cluster {

// One moment on both clocks: waiting times are measured on the steady one, dates and the expiry on the
// wall's.
struct Now {
  std::chrono::steady_clock::time_point steady;
  WallTime wall;
};
Now current_time();

struct MembershipTimes {
  std::chrono::milliseconds heartbeat{5000};
  std::chrono::milliseconds suspect_after{15000};  // of silence
  std::chrono::milliseconds down_after{45000};     // of silence
  std::chrono::seconds expire_after{24 * 3600};    // of being down
  std::chrono::seconds forget_after{100 * 24 *
                                    3600};  // removed and expired ones; longer than certificates last
  // More than this share of the present nodes (and at least 3) silent at the same time: the head itself is
  // taken for the one that is cut off, and nobody goes down until some come back or `mass_limit` has passed.
  double mass_share = 0.2;
  std::chrono::milliseconds mass_limit{300000};
};

// What a node says of itself when it comes.
struct NodeFacts {
  std::string id;
  MemberRole role = MemberRole::worker;
  std::string name = {};  // asked for; empty: the default name
  std::string underlay = {}, vtep_mac = {}, public_key = {}, overlay = {};
  std::string seen = {};  // filled in by the head: where the stream comes from
  std::map<std::string, std::string> labels = {};
};
nlohmann::json to_json(const NodeFacts& facts);
NodeFacts parse_facts(const Json& json);  // bounded: lengths and characters are checked

class Membership {
 public:
  Membership(const Cluster& cluster, const MembershipTimes& times);

  // The node is here (a join, a return after a restart, new facts). Its index and slot are those it had, or
  // the lowest free. Throws when the name belongs to another node, the node was removed, its role changed, a
  // second head comes, or the pool is full.
  const Node& arrive(const NodeFacts& facts, Now now);
  // Others reach it, though its stream is silent: as long as that is so it stays suspect and doesn't go down.
  void vouch(std::string_view id, Now now);
  void heard(std::string_view id, Now now);  // a heartbeat or anything else; makes a suspect joined again
  // The further names of its containers ("2.web": member 2 of a label), and which of those are ill; each
  // address must lie in its subnet, each name be free. Throws.
  void set_names(std::string_view id, const std::map<std::string, std::string>& names,
                 const std::set<std::string>& ill = {});
  void remove(std::string_view id);  // for good

  // What the passing of time does; call it about once a second.
  void tick(Now now);
  // The head itself was stopped for a while (SIGSTOP, a suspended VM): the silence was its own, everyone
  // starts anew.
  void excuse(Now now);
  bool frozen() const { return frozen_since_.has_value(); }  // the mass-failure guard holds

  // Ids of the nodes that changed (any field but last_seen) since the last call, for the journal and
  // callbacks. Those that are in no map any more were forgotten.
  std::set<std::string> take_changed();
  bool changed() const { return !changed_.empty(); }

  const std::map<std::string, Node>& nodes() const { return nodes_; }  // all, also expired and removed ones
  const Node* find(std::string_view id) const;
  uint64_t version() const { return version_; }
  const Cluster& cluster() const { return cluster_; }
  void set_cluster(Cluster cluster);  // settings that changed; bumps the version
  uint64_t cluster_version() const { return cluster_version_; }
  // Nodes that were forgotten had versions up to this one: whoever is behind it needs the whole state.
  uint64_t floor() const { return floor_; }

  // --- from the journal, before anything else; every present node gets the full waiting times from `now` on
  // ---
  void restore(Node node, Now now);
  void forget(const std::string& id);
  void restore_version(uint64_t version, uint64_t cluster_version, uint64_t floor);

 private:
  struct Timing {
    std::chrono::steady_clock::time_point heard, vouched = {};
  };
  void touch(Node& node);
  void set_status(Node& node, NodeStatus status, Now now);
  std::string choose_name(const NodeFacts& facts, const Node* had, uint32_t& index) const;
  bool name_taken(std::string_view name, std::string_view but_id, std::string* owner) const;
  uint32_t free_slot() const;
  void hold(const Node& node);     // its name, slot and index are its own from now on
  void release(const Node& node);  // and free again
  bool mass_failure(Now now) const;

  Cluster cluster_;
  MembershipTimes times_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, Timing, std::less<>> timing_;  // of each of nodes_, in the same order
  // What nodes hold that aren't expired or removed, and which one: when thousands come at once, each asks.
  using Owner = std::string;
  std::unordered_map<std::string, Owner> names_;
  std::map<uint32_t, Owner> slots_;
  std::map<MemberRole, std::map<uint32_t, Owner>> indices_;
  std::set<std::string> changed_;
  uint64_t version_ = 1, cluster_version_ = 1, floor_ = 0;
  std::optional<std::chrono::steady_clock::time_point> frozen_since_;
};

// What a node at `from` lacks of the state at `until` (the newest, when that is later): a piece of at most
// `limit` nodes, in the order of their versions. Those that have changed again since are left to later.
struct Delta {
  uint64_t from = 0, to = 0;  // `to` is the next piece's `from`
  bool full = false;          // begins with an empty view
  bool more = false;          // another piece follows at once
  std::optional<Cluster> cluster = {};
  std::vector<Node> nodes = {};
};
Delta delta_since(const Membership& members, uint64_t from, size_t limit,
                  uint64_t until = std::numeric_limits<uint64_t>::max());
nlohmann::json to_json(const Delta& delta);
Delta parse_delta(const Json& json);
// Applies it; returns the ids that changed. A delta that doesn't fit the view's version is an Error.
std::set<std::string> apply(ClusterView& view, const Delta& delta);

}  // namespace rayctl::cluster
