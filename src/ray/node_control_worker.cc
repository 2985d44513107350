#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cloud/user_data.h"
#include "cluster/cluster_state.h"
#include "cluster/control_client.h"
#include "net/address_plan.h"
#include "net/wireguard_key.h"
#include "ray/node_control.h"
#include "ray/node_net.h"

namespace rayctl::ray {

namespace {

class WorkerControl : public NodeControl {
 public:
  WorkerControl(boost::asio::io_context& io, const Paths& paths, const NodeConfig& config,
                cluster::RequestTable& requests, ControlEvents events)
      : io_(io),
        ray_token_path_(join(cluster::cluster_directory(paths), "ray-token")),
        events_(std::move(events)) {
    cluster::ClientConfig client;
    client.head = {config.join_host, config.join_port};
    bool ours = config.token_file == cloud::token_path;
    // A member needs none any more, and user-data's is removed then.
    if (!ours || exists(config.token_file)) client.token = cluster::read_token(config.token_file);
    if (ours) spent_token_ = config.token_file;
    client.facts.name = config.name;
    client.facts.labels = config.labels;
    if (!config.advertise.empty())
      client.facts.underlay = net::to_string(net::parse_address(config.advertise));
    client.facts.public_key = net::to_text(net::KeyStore(cluster::cluster_directory(paths)).announced());
    client.facts.overlay = own_encryption(config.overlay, "");
    facts_ = client.facts;
    advertised_ = !config.advertise.empty();
    own_overlay_ = config.overlay;
    cluster::ClientCallbacks callbacks;
    callbacks.on_view = [this](const cluster::ClusterView& view, const std::set<std::string>&) {
      take_view(view);
    };
    callbacks.on_connected = events_.on_connected;
    callbacks.on_disconnected = events_.on_disconnected;
    callbacks.on_refused = events_.on_refused;
    client_ = std::make_unique<cluster::ControlClient>(io, paths, client, requests, std::move(callbacks));
    tell_encryption(client_->view());
  }

  void start() override { client_->start(); }
  cluster::ClusterView view() const override { return client_->view(); }
  const cluster::Node* self() const override { return client_->self(); }
  std::string trouble() const override { return client_->connected() ? "" : client_->last_error(); }
  const std::map<std::string, NodeReport>& reports() const override { return reports_; }
  bool connected(const std::string& id) const override { return id == client_->node_id(); }

  void report(const NodeReport& report) override {
    reports_[client_->node_id()] = report;
    client_->report(to_json(report));
  }

  void forward(const std::string&, const cluster::ChannelPtr&, std::string_view,
               const nlohmann::json&) override {
    throw Error("cannot reach another node from a worker: ask the head");
  }

  cluster::ChannelPtr ask_head(std::string_view name, const nlohmann::json& body,
                               cluster::Completion completion) override {
    return client_->request(name, body, std::move(completion));
  }

  void set_network_facts(const std::string& underlay, const std::string& public_key) override {
    if (!underlay.empty() && !advertised_) facts_.underlay = underlay;
    if (!public_key.empty()) facts_.public_key = public_key;
    client_->set_facts(facts_);
  }

  void set_names(const cluster::ContainerNames& names) override { client_->set_names(names); }

  void set_setting(const std::string&, const std::string&) override {
    throw Error("cannot change a setting of the cluster on a worker");
  }

  void ray_token(std::function<void(const std::string&, const std::string&)> done) override {
    // Kept on disk, so that the node comes up without the head.
    if (auto token = read_file_if_exists(ray_token_path_)) {
      boost::asio::post(io_, [done = std::move(done), token = *token] { done(token, ""); });
      return;
    }
    client_->request("ray.token", nlohmann::json::object(),
                     [this, done = std::move(done)](const cluster::Reply& reply) {
                       if (!reply.ok()) return done("", reply.error);
                       std::string token = reply.value().at("token").string();
                       replace_file(ray_token_path_, token, 0600);
                       done(token, "");
                     });
  }

 private:
  // The ciphers between nodes go by it: a node that knows its cluster says it right at once.
  void tell_encryption(const cluster::ClusterView& view) {
    std::string how = own_encryption(own_overlay_, view.cluster.overlay);
    if (std::exchange(facts_.overlay, how) != how) client_->set_facts(facts_);
  }

  void take_view(const cluster::ClusterView& view) {
    if (!pool_checked_) {
      try {
        net::check_pool(net::parse_subnet(view.cluster.pool), net::host_networks());
        net::choose_mode(view.cluster.overlay, own_overlay_, net::kernel_parts());
        tell_encryption(view);
      } catch (const Error& e) {
        return events_.on_refused(e.message());
      }
      pool_checked_ = true;
    }
    if (!spent_token_.empty()) unlink(std::exchange(spent_token_, "").c_str());
    events_.on_view(view);
  }

  boost::asio::io_context& io_;
  std::string ray_token_path_;
  std::string spent_token_;  // user-data's token, to be removed once it let this node in
  ControlEvents events_;
  std::unique_ptr<cluster::ControlClient> client_;
  std::map<std::string, NodeReport> reports_;
  cluster::NodeFacts facts_;
  std::string own_overlay_;
  bool pool_checked_ = false, advertised_ = false;
};

}  // namespace

std::unique_ptr<NodeControl> make_worker_control(boost::asio::io_context& io, const Paths& paths,
                                                 const NodeConfig& config, cluster::RequestTable& requests,
                                                 ControlEvents events) {
  return std::make_unique<WorkerControl>(io, paths, config, requests, std::move(events));
}

}  // namespace rayctl::ray
