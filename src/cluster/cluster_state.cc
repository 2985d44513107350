#include "cluster/cluster_state.h"

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_cluster_file = 1 << 20;
// A setting: the count of workers that the head's own configuration named last.
constexpr const char* workers_at_start = "workers-at-start";
constexpr const char* image_at_start = "image-at-start";

std::string cluster_file(const std::string& directory) {
  return join(directory, "cluster.json");
}

void write_cluster(const std::string& directory, const Cluster& cluster) {
  replace_file(cluster_file(directory), to_json(cluster).dump(2) + "\n", 0600);
}

void keep_same(std::string_view what, const std::string& had, const std::string& wanted) {
  if (!wanted.empty() && had != wanted)
    throw Error(
        "cannot change the cluster's {} from '{}' to '{}': it was fixed when the cluster was made (rayctl "
        "node reset "
        "on every node gives the cluster up)",
        what, had, wanted);
}

}  // namespace

std::string cluster_directory(const Paths& paths) {
  std::string directory = join(paths.state_dir, "cluster");
  make_directories(paths.state_dir, 0755);
  make_directories(directory, 0700);
  return directory;
}

std::optional<Cluster> ClusterState::cluster_of(const Paths& paths) {
  std::string path = cluster_file(join(paths.state_dir, "cluster"));
  auto text = read_file_if_exists(path, max_cluster_file);
  if (!text) return std::nullopt;
  return parse_cluster(Json::parse(*text, path));
}

std::unique_ptr<ClusterState> ClusterState::open(const Paths& paths, Cluster wanted, NodeFacts facts,
                                                 const MembershipTimes& times, Now now) {
  std::unique_ptr<ClusterState> state(new ClusterState());
  state->directory_ = cluster_directory(paths);
  std::optional<Cluster> had = cluster_of(paths);
  std::optional<ClaimRecord> claim = read_claim(state->directory_);
  if (!had) {
    if (exists(join(state->directory_, "node.crt")))
      throw Error(
          "cannot create a cluster in '{}': this machine is a worker of another one (leave it with: rayctl "
          "node reset)",
          paths.state_dir);
    if (wanted.prefix.empty()) wanted.prefix = Cluster{}.prefix;
    if (wanted.node_prefix == 0) wanted.node_prefix = Cluster{}.node_prefix;
    if (wanted.pool.empty()) throw Error("cannot create a cluster: it has no address pool");
    if (!valid_node_name(wanted.prefix + "-wk-99999"))
      throw Error("cannot create a cluster with prefix '{}': node names are DNS labels of a-z, 0-9 and '-'",
                  wanted.prefix);
    wanted.settings[workers_at_start] = std::to_string(wanted.workers);
    if (!wanted.image.empty()) wanted.settings[image_at_start] = wanted.image;
    wanted.id = claim ? claim->cluster : hex(random_bytes(8));
    wanted.created = now.wall;
    node_addresses(wanted, 1);  // a pool that can't hold a worker is an error now
    write_cluster(state->directory_, wanted);
    state->created_ = true;
  }
  state->members_ = std::make_unique<Membership>(had ? *had : wanted, times);
  state->authority_.emplace(Authority::open(state->directory_, state->cluster().id));
  state->credentials_ = load_credentials(state->directory_);
  state->journal_ = std::make_unique<Journal>(
      state->directory_, [&](std::string_view snapshot) { state->load(snapshot, now); },
      [&](std::string_view record) { state->replay(record, now); });
  if (had) state->adopt(wanted);
  if (claim && !state->claim_taken_) state->take_claim(*claim);
  ++state->epoch_;
  state->journal_->append(nlohmann::json{{"epoch", state->epoch_}}.dump());
  facts.id = node_id(state->credentials_.key);
  facts.role = MemberRole::head;
  state->renew_own(now);
  state->members_->arrive(facts, now);
  state->collect();
  state->commit();
  return state;
}

// Also when the last start ended between making the cluster and writing this down.
void ClusterState::take_claim(const ClaimRecord& claim) {
  for (const TokenRecord& token : claim.tokens) {
    tokens_.put(token);
    journal(token);
  }
  journal(operators_.add(claim.operator_name, MemberRole::admin, claim.when));
  claim_taken_ = true;
  journal_->append(nlohmann::json{{"claimed", true}}.dump());
}

// What may change at a start.
void ClusterState::adopt(const Cluster& wanted) {
  Cluster cluster = members_->cluster();
  keep_same("prefix", cluster.prefix, wanted.prefix);
  keep_same("pool", cluster.pool, wanted.pool);
  keep_same("overlay", cluster.overlay, wanted.overlay);
  if (wanted.node_prefix != 0)
    keep_same("node prefix length", std::to_string(cluster.node_prefix), std::to_string(wanted.node_prefix));
  std::string before = to_json(cluster).dump();
  // A node's own file still has what the cluster was made with, when operators have changed it since.
  if (!wanted.image.empty() && std::exchange(cluster.settings[image_at_start], wanted.image) != wanted.image)
    cluster.image = wanted.image;
  std::string count = std::to_string(wanted.workers);
  if (wanted.workers != 0 && std::exchange(cluster.settings[workers_at_start], count) != count)
    cluster.workers = wanted.workers;
  for (const auto& [key, value] : wanted.settings) cluster.settings[key] = value;
  if (to_json(cluster).dump() != before) change_cluster(cluster);
}

void ClusterState::change_cluster(const Cluster& cluster) {
  members_->set_cluster(cluster);
  // The version first: a crash in between announces a change that isn't there, which harms nobody.
  journal_->append(
      nlohmann::json{{"version", members_->version()}, {"cluster_version", members_->cluster_version()}}
          .dump());
  journal_->commit();
  write_cluster(directory_, cluster);
}

const Node& ClusterState::self() const {
  const Node* node = members_->find(node_id(credentials_.key));
  if (!node) throw Error("cannot find the head among the cluster's nodes");
  return *node;
}

bool ClusterState::renew_own(Now now) {
  if (credentials_.joined()) {
    CertificateInfo info = certificate_info(credentials_.certificate);
    if (info.identity.role == MemberRole::head && now.wall < renewal_time(info, 0.5)) return false;
  }
  Identity identity{cluster().id, MemberRole::head, node_id(credentials_.key)};
  credentials_.certificate = authority_->issue(credentials_.key, identity, now.wall);
  credentials_.authority = authority_->certificate();
  credentials_.root = authority_->root();
  save_certificate(directory_, credentials_.certificate, credentials_.authority, credentials_.root);
  return true;
}

Token ClusterState::create_token(MemberRole role, std::chrono::seconds lifetime, uint32_t uses,
                                 WallTime now) {
  tokens_.forget_old(now, CertificateTimes{}.operators + max_clock_skew);
  TokenStore::Created made = tokens_.create(authority_->pin(), role, lifetime, uses, now);
  journal(made.record);
  commit();
  return made.token;
}

void ClusterState::journal(const TokenRecord& record) {
  journal_->append(nlohmann::json{{"token", to_json(record)}}.dump());
}

void ClusterState::journal(const OperatorRecord& record) {
  journal_->append(nlohmann::json{{"operator", to_json(record)}}.dump());
}

std::set<std::string> ClusterState::collect() {
  std::set<std::string> changed = members_->take_changed();
  for (const std::string& id : changed) {
    if (const Node* node = members_->find(id))
      journal_->append(nlohmann::json{{"node", to_json(*node)}}.dump());
    else
      journal_->append(nlohmann::json{{"forgot", id}, {"floor", members_->floor()}}.dump());
  }
  return changed;
}

void ClusterState::commit() {
  if (journal_->dirty()) journal_->commit();
  if (journal_->wants_compaction()) journal_->compact(snapshot());
}

std::string ClusterState::snapshot() const {
  nlohmann::json nodes = nlohmann::json::array(), tokens = nlohmann::json::array(),
                 operators = nlohmann::json::array();
  for (const OperatorRecord& record : operators_.list()) operators.push_back(to_json(record));
  for (const auto& [id, node] : members_->nodes()) nodes.push_back(to_json(node));
  for (const TokenRecord& record : tokens_.list()) tokens.push_back(to_json(record));
  return nlohmann::json{{"epoch", epoch_},
                        {"version", members_->version()},
                        {"cluster_version", members_->cluster_version()},
                        {"floor", members_->floor()},
                        {"nodes", std::move(nodes)},
                        {"tokens", std::move(tokens)},
                        {"operators", std::move(operators)},
                        {"claimed", claim_taken_}}
      .dump();
}

void ClusterState::load(std::string_view snapshot, Now now) {
  Json json = Json::parse(snapshot, join(directory_, "snapshot"));
  for (const Json& node : json.at("nodes").items()) members_->restore(parse_node(node), now);
  for (const Json& token : json.at("tokens").items()) tokens_.put(parse_token_record(token));
  if (auto operators = json.find("operators"))
    for (const Json& record : operators->items()) operators_.put(parse_operator(record));
  claim_taken_ = json.boolean_or("claimed", false);
  epoch_ = json.at("epoch").size();
  members_->restore_version(json.at("version").size(), json.at("cluster_version").size(),
                            json.at("floor").size());
}

void ClusterState::replay(std::string_view record, Now now) {
  Json json = Json::parse(record, "journal record");
  if (auto node = json.find("node")) members_->restore(parse_node(*node), now);
  if (auto token = json.find("token")) tokens_.put(parse_token_record(*token));
  if (auto record = json.find("operator")) operators_.put(parse_operator(*record));
  claim_taken_ = json.boolean_or("claimed", claim_taken_);
  if (auto forgot = json.find("forgot")) members_->forget(forgot->string());
  epoch_ = json.size_or("epoch", epoch_);
  members_->restore_version(json.size_or("version", 0), json.size_or("cluster_version", 0),
                            json.size_or("floor", 0));
}

std::string write_token_file(const Paths& paths, const Token& token) {
  std::string path = join(cluster_directory(paths), std::string(role_name(token.role)) + "-token");
  replace_file(path, format_token(token) + "\n", 0600);
  return path;
}

}  // namespace rayctl::cluster
