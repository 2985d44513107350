#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/claim_server.h"
#include "cluster/cluster_state.h"
#include "cluster/control_pump.h"
#include "cluster/control_server.h"
#include "net/address_plan.h"
#include "net/node_network.h"
#include "net/wireguard_key.h"
#include "ray/deployment_keeper.h"
#include "ray/node_control.h"
#include "ray/node_net.h"

namespace rayctl::ray {

namespace {

namespace asio = boost::asio;

constexpr std::chrono::milliseconds probe_interval{5000};
constexpr size_t witness_count = 3;
constexpr std::chrono::milliseconds assign_timeout{10000};
constexpr auto first_token_lifetime = std::chrono::hours(1);

// The pool is chosen when the cluster is made; a later start only checks that nothing on the host took it.
net::AddressPlan plan_of(const Paths& paths, const NodeConfig& config) {
  std::optional<net::Subnet> asked;
  if (!config.pool.empty()) asked = net::parse_subnet(config.pool);
  std::optional<cluster::Cluster> existing = cluster::ClusterState::cluster_of(paths);
  if (!existing) return net::choose_plan(asked, net::host_networks());
  net::AddressPlan plan{net::parse_subnet(existing->pool), existing->node_prefix};
  if (asked && *asked != plan.pool)
    throw Error("--pool: this cluster has {} and its pool is fixed (a new cluster: 'rayctl node reset')",
                existing->pool);
  net::check_pool(plan.pool, net::host_networks());
  return plan;
}

std::string own_underlay(const NodeConfig& config) {
  if (!config.advertise.empty()) return net::to_string(net::parse_address(config.advertise));
  if (!config.listen_host.empty()) return config.listen_host;
  return net::to_string(net::default_underlay().address);
}

std::string load_or_make_ray_token(const Paths& paths) {
  std::string path = join(cluster::cluster_directory(paths), "ray-token");
  if (auto token = read_file_if_exists(path)) return *token;
  std::string token = hex(random_bytes(32));
  replace_file(path, token, 0600);
  return token;
}

class HeadControl : public NodeControl {
 public:
  HeadControl(boost::asio::io_context& io, const Paths& paths, const NodeConfig& config,
              cluster::RequestTable& requests, ControlEvents events)
      : io_(io),
        paths_(paths),
        config_(config),
        requests_(requests),
        events_(std::move(events)),
        probe_timer_(io) {
    server_config_.listen_host = config.listen_host;
    server_config_.listen_port = config.listen_port;
    std::string directory = cluster::cluster_directory(paths);
    bool made = cluster::ClusterState::cluster_of(paths) || cluster::read_claim(directory);
    if (config.claim_token_file.empty() || made) {
      open();
      return;
    }
    plan_of(paths, config);  // what can't become a cluster is an error now, not when its operator comes
    std::optional<cluster::Token> token = cluster::read_token(config.claim_token_file);
    claim_ = std::make_unique<cluster::ClaimServer>(io, directory, *token, server_config_,
                                                    [this](const cluster::ClaimRecord&) { claimed(); });
  }

  void start() override {
    if (claim_) {
      claim_->start();
      info("waiting on port {} for the operator who claims this head", claim_->port());
      return;
    }
    server_->start();
    info("cluster {}: control API on port {}", state_->cluster().id, server_->port());
    // Whoever claimed the head has given its workers their tokens already.
    if (state_->created() && config_.claim_token_file.empty()) announce_token();
    boost::asio::post(io_, [this] {
      events_.on_view(server_->view());
      keeper_->start();
    });
    probe_suspects();
  }

  cluster::ClusterView view() const override { return server_ ? server_->view() : cluster::ClusterView{}; }
  const cluster::Node* self() const override { return state_ ? &state_->self() : nullptr; }
  void report(const NodeReport& report) override {
    report_ = report;
    if (state_) reports_[state_->self().id] = report;
  }
  std::string trouble() const override {
    return claim_ ? "it waits for the operator who claims it (rayctl up, or rayctl context claim)" : "";
  }
  const std::map<std::string, NodeReport>& reports() const override { return reports_; }
  bool connected(const std::string& id) const override {
    return state_ && (id == state_->self().id || server_->connected(id));
  }

  void forward(const std::string& id, const cluster::ChannelPtr& channel, std::string_view name,
               const nlohmann::json& body) override {
    cluster::ConnectionPtr connection = server_ ? server_->connection(id) : nullptr;
    if (!connection) throw Error("cannot reach node '{}': it is not connected to the head now", name_of(id));
    cluster::relay(channel, connection, name, body);
  }

  cluster::ChannelPtr ask_head(std::string_view, const nlohmann::json&,
                               cluster::Completion completion) override {
    boost::asio::post(io_,
                      [completion = std::move(completion)] { completion({.error = "this is the head"}); });
    return nullptr;
  }

  void set_network_facts(const std::string& underlay, const std::string& public_key) override {
    if (!server_) return;
    if (!underlay.empty() && config_.advertise.empty() && config_.listen_host.empty())
      facts_.underlay = underlay;
    if (!public_key.empty()) facts_.public_key = public_key;
    server_->set_own_facts(facts_);
  }

  void set_names(const cluster::ContainerNames& names) override { server_->set_own_names(names); }

  void set_setting(const std::string& key, const std::string& value) override {
    server_->set_setting(key, value);
  }

  void ray_token(std::function<void(const std::string&, const std::string&)> done) override {
    boost::asio::post(io_, [done = std::move(done), token = ray_token_] { done(token, ""); });
  }

 private:
  // The cluster that is there, or a new one.
  void open() {
    net::AddressPlan plan = plan_of(paths_, config_);
    cluster::Cluster wanted;
    wanted.prefix = config_.prefix;
    wanted.pool = net::to_string(plan.pool);
    wanted.node_prefix = static_cast<uint8_t>(plan.node_prefix);
    wanted.overlay = config_.overlay;
    auto there = cluster::ClusterState::cluster_of(paths_);
    if (wanted.overlay.empty() && !there) wanted.overlay = default_overlay;
    if (config_.overlay_port) wanted.settings[overlay_port_setting] = std::to_string(config_.overlay_port);
    if (!config_.egress.empty()) wanted.settings[egress_setting] = config_.egress;
    if (!config_.metadata.empty()) wanted.settings[metadata_setting] = config_.metadata;
    if (!config_.overlay_cipher.empty()) wanted.settings[overlay_cipher_setting] = config_.overlay_cipher;
    wanted.image = config_.image;
    wanted.workers = static_cast<uint32_t>(config_.workers);
    cluster::NodeFacts facts;
    facts.role = cluster::MemberRole::head;
    facts.name = config_.name;
    facts.labels = config_.labels;
    facts.underlay = own_underlay(config_);
    facts.public_key = net::to_text(net::KeyStore(cluster::cluster_directory(paths_)).announced());
    facts.overlay = own_encryption(config_.overlay, there ? there->overlay : wanted.overlay);
    facts_ = facts;
    state_ = cluster::ClusterState::open(paths_, wanted, facts, {}, cluster::current_time());
    net::choose_mode(state_->cluster().overlay, config_.overlay, net::kernel_parts());
    ray_token_ = load_or_make_ray_token(paths_);
    if (report_) reports_[state_->self().id] = *report_;
    requests_.on("ray.token", cluster::Access::node,
                 [this](const cluster::Request&, const cluster::ChannelPtr& channel) {
                   channel->respond({{"token", ray_token_}});
                 });
    cluster::ServerCallbacks callbacks;
    callbacks.on_view = [this](const cluster::ClusterView& view, const std::set<std::string>&) {
      events_.on_view(view);
      keeper_->view_changed();
    };
    callbacks.on_report = [this](const std::string& id, const Json& report) { take_report(id, report); };
    server_ = std::make_unique<cluster::ControlServer>(io_, *state_, requests_, server_config_,
                                                       std::move(callbacks));
    keeper_ = std::make_unique<DeploymentKeeper>(io_, cluster::cluster_directory(paths_), keeper_links());
    serve_deployments();
  }

  void serve_deployments() {
    requests_.on("deployment.set", cluster::Access::operate,
                 [this](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                   std::optional<stitch::Deployment> deployment;
                   if (auto wanted = request.body.find("deployment"))
                     deployment = stitch::deployment_from_json(wanted->raw().dump(), "deployment");
                   keeper_->set(std::move(deployment));
                   channel->respond(keeper_->describe());
                 });
    requests_.on("deployment.get", cluster::Access::operate,
                 [this](const cluster::Request&, const cluster::ChannelPtr& channel) {
                   channel->respond(keeper_->describe());
                 });
  }

  DeploymentKeeper::Links keeper_links() {
    DeploymentKeeper::Links links;
    links.view = [this]() -> const cluster::ClusterView& { return server_->view(); };
    links.reached = [this](const std::string& id) { return connected(id); };
    links.tell = [this](const std::string& id, const std::optional<std::vector<Assigned>>& list,
                        std::function<void(bool)> done) {
      if (id == state_->self().id) {
        events_.on_assigned(list);
        return done(true);
      }
      nlohmann::json body = {{"containers", list ? to_json(*list) : nlohmann::json()}};
      server_->request(
          id, "containers.assign", body,
          [this, id, done = std::move(done)](const cluster::Reply& reply) {
            if (!reply.ok()) debug("node '{}' didn't take its containers: {}", name_of(id), reply.error);
            done(reply.ok());
          },
          assign_timeout);
    };
    links.changed = [this](const std::optional<stitch::Deployment>& deployment) {
      server_->set_policy(deployment ? std::optional(policy_of(*deployment)) : std::nullopt);
    };
    return links;
  }

  void claimed() {
    // Not from within a call of the one that is replaced.
    boost::asio::post(io_, [this] {
      try {
        claim_.reset();
        open();
        start();
      } catch (const Error& e) {  // the operator waits for a head that will not come: its log says why
        events_.on_refused(e.message());
      }
    });
  }

  // A node whose stream is silent may be well: three others look whether it answers through the overlay.
  void probe_suspects() {
    std::vector<std::string> witnesses;
    for (const auto& [id, node] : state_->members().nodes())
      if (node.status == cluster::NodeStatus::joined && server_->connected(id)) witnesses.push_back(id);
    for (const auto& [id, node] : state_->members().nodes()) {
      if (node.status != cluster::NodeStatus::suspect) continue;
      std::string end = cluster::reached_at(
          state_->cluster(), node, net::to_string(net::vtep_address(net::parse_subnet(node.subnet))));
      std::shuffle(witnesses.begin(), witnesses.end(), random_);
      for (size_t i = 0; i < std::min(witness_count, witnesses.size()); ++i)
        server_->request(
            witnesses[i], "net.probe", {{"address", end}},
            [this, suspect = id](const cluster::Reply& reply) {
              if (reply.ok() && reply.value().boolean_or("answered", false))
                state_->members().vouch(suspect, cluster::current_time());
            },
            probe_interval);
    }
    probe_timer_.expires_after(probe_interval);
    probe_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) probe_suspects();
    });
  }

  std::string name_of(const std::string& id) const {
    const cluster::Node* node = state_ ? state_->members().find(id) : nullptr;
    return node ? node->name : id;
  }

  void take_report(const std::string& id, const Json& json) {
    try {
      reports_[id] = parse_node_report(json);
    } catch (const Error& e) {
      debug("report of node '{}': {}", name_of(id), e.message());
    }
  }

  void announce_token() {
    uint32_t uses = static_cast<uint32_t>(std::max<uint64_t>(config_.workers, 1));
    cluster::Token token =
        state_->create_token(cluster::MemberRole::worker, first_token_lifetime, uses, cluster::wall_now());
    std::string validity = fmt::format("valid for 1 h and {} worker{}", uses, uses == 1 ? "" : "s");
    std::string line =
        fmt::format("rayctl node --role worker --join {}:{}", state_->self().underlay, server_->port());
    if (isatty(STDERR_FILENO) && isatty(STDIN_FILENO)) {
      info("worker token, {}, shown once:\n    {}\non each worker: RAYCTL_TOKEN=… {}", validity,
           cluster::format_token(token), line);
    } else {
      std::string path = cluster::write_token_file(paths_, token);
      info("worker token, {}, is in {}; on each worker: {} --token-file FILE", validity, path, line);
    }
  }

  boost::asio::io_context& io_;
  Paths paths_;
  NodeConfig config_;
  cluster::RequestTable& requests_;
  ControlEvents events_;
  cluster::NodeFacts facts_;
  cluster::ServerConfig server_config_;
  std::unique_ptr<cluster::ClaimServer> claim_;  // before there is a cluster
  std::unique_ptr<cluster::ClusterState> state_;
  std::string ray_token_;
  std::optional<NodeReport> report_;  // this node's own, the last one
  std::unique_ptr<cluster::ControlServer> server_;
  std::unique_ptr<DeploymentKeeper> keeper_;
  std::map<std::string, NodeReport> reports_;
  asio::steady_timer probe_timer_;
  std::mt19937 random_{std::random_device{}()};
};

}  // namespace

std::unique_ptr<NodeControl> make_head_control(boost::asio::io_context& io, const Paths& paths,
                                               const NodeConfig& config, cluster::RequestTable& requests,
                                               ControlEvents events) {
  return std::make_unique<HeadControl>(io, paths, config, requests, std::move(events));
}

}  // namespace rayctl::ray
