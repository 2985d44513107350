// What the head answers by itself: nodes' reports, certificates, tokens, members.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_report = 64 << 10;
constexpr size_t longest_image_name = 1024;
constexpr size_t page_size = 128 << 10;

nlohmann::json shown(const TokenRecord& record, WallTime now) {
  nlohmann::json json = to_json(record);
  json.erase("secret_hash");
  json["state"] = token_state(record, now);
  return json;
}

}  // namespace

void ControlServer::Impl::notify(const SessionPtr& session, const std::string& name, const Json& body) {
  if (session->node_id.empty()) throw Error("only a node's stream reports");
  if (name != "report") return;  // a newer node's, unknown here
  if (body.raw().dump().size() > max_report) throw Error("a report is larger than {} bytes", max_report);
  if (callbacks.on_report) callbacks.on_report(session->node_id, body);
}

void ControlServer::Impl::remove_node(const std::string& name) {
  const Node* found = nullptr;
  for (const auto& [id, node] : state.members().nodes())
    if (node.status != NodeStatus::removed && (node.name == name || id == name)) found = &node;
  if (!found) throw Error("cannot remove node '{}': no such node (rayctl nodes)", printable(name));
  std::string id = found->id;
  state.members().remove(id);
  if (auto it = nodes.find(id); it != nodes.end())
    it->second->connection->close("the node was removed from the cluster");
}

void ControlServer::Impl::on(std::string name, Access access, Handler handler) {
  requests.on(std::move(name), access,
              [weak = weak_from_this(), handler = std::move(handler)](const Request& request,
                                                                      const ChannelPtr& channel) {
                if (auto self = weak.lock()) return handler(*self, request, channel);
                channel->fail("the head's supervisor stops");
              });
}

void ControlServer::Impl::register_requests() {
  // Answers once what the handler changed is on the disk.
  auto when_durable = [](Impl& self, const ChannelPtr& channel, nlohmann::json answer) {
    self.durable([channel, answer = std::move(answer)] { channel->respond(answer); });
  };

  on("renew", Access::node, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    Identity identity{self.state.cluster().id, MemberRole::worker, request.peer.id};
    X509Ptr certificate = self.state.authority().sign(request.body.at("csr").string(), identity, wall_now());
    debug("the certificate of {} was renewed", request.peer.label);
    channel->respond({{"certificate", to_pem(certificate)}});
  });
  on("names", Access::node, [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
    std::vector<std::string> list = request.body.strings_or_empty("ill");
    std::set<std::string> ill(list.begin(), list.end());
    self.state.members().set_names(request.peer.id, request.body.at("names").string_map(), ill);
    self.schedule_publish();
    when_durable(self, channel, nlohmann::json::object());
  });
  on("facts", Access::node, [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
    NodeFacts facts = parse_facts(request.body.at("node"));
    if (facts.id != request.peer.id || facts.role != MemberRole::worker)
      throw Error("cannot change the facts of another node");
    facts.seen = request.connection->remote_address();
    if (facts.underlay.empty()) facts.underlay = facts.seen;
    self.state.members().arrive(facts, current_time());
    self.schedule_publish();
    when_durable(self, channel, nlohmann::json::object());
  });

  // In pages: thousands of nodes don't fit one answer. {after: id} -> {nodes, next: id, when there are more}
  on("nodes", Access::operate, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    const auto& all = self.state.members().nodes();
    nlohmann::json list = nlohmann::json::array(),
                   answer{{"cluster", to_json(self.state.cluster())}, {"epoch", self.state.epoch()}};
    size_t size = 0;
    for (auto it = all.upper_bound(request.body.string_or("after", "")); it != all.end(); ++it) {
      nlohmann::json json = to_json(it->second);
      json["connected"] = self.nodes.count(it->first) != 0 || it->second.role == MemberRole::head;
      size += json.dump().size();
      list.push_back(std::move(json));
      if (size < page_size) continue;
      answer["next"] = it->first;
      break;
    }
    answer["nodes"] = std::move(list);
    channel->respond(answer);
  });
  on("nodes.remove", Access::admin,
     [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
       self.remove_node(request.body.at("name").string());
       info("node '{}' was removed by {}", printable(request.body.at("name").string()), request.peer.label);
       self.schedule_publish();
       when_durable(self, channel, nlohmann::json::object());
     });

  // How many workers make it whole, as machines come and go; and the image of nodes that run their own Ray.
  // Says which image it replaced, if it did.
  on("cluster.set", Access::operate,
     [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
       Cluster cluster = self.state.cluster();
       auto workers = static_cast<uint32_t>(std::min<uint64_t>(request.body.at("workers").size(), 1000000));
       std::string image = request.body.string_or("image", "");
       if (image.size() > longest_image_name)
         throw Error("{}.image: it is longer than {} bytes", request.body.path(), longest_image_name);
       nlohmann::json answer = nlohmann::json::object();
       bool more = workers != cluster.workers, other = !image.empty() && image != cluster.image;
       if (more) info("{} workers make the cluster whole, says {}", workers, request.peer.label);
       if (other) {
         info("the image is '{}' from now on, says {}", printable(image), request.peer.label);
         answer["image_before"] = std::exchange(cluster.image, image);
       }
       cluster.workers = workers;
       if (more || other) {
         self.state.change_cluster(cluster);
         self.schedule_publish();
       }
       when_durable(self, channel, answer);
     });

  on("token.create", Access::admin, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    std::string name = request.body.at("role").string();
    std::optional<MemberRole> role = role_by_name(name);
    if (!role)
      throw Error("cannot create a token of role '{}': worker, operator or admin is expected",
                  printable(name));
    // What is beyond the limits stays beyond them when it is narrowed.
    auto uses = static_cast<uint32_t>(std::min<uint64_t>(request.body.at("uses").size(), 1000000));
    std::chrono::seconds lifetime(std::min<uint64_t>(request.body.at("seconds").size(), 10 * 366 * 86400ULL));
    Token token = self.state.create_token(*role, lifetime, uses, wall_now());
    info("token {} for role {} was created by {}", token.id, name, request.peer.label);
    channel->respond({{"token", format_token(token)}, {"id", token.id}});
  });
  // One that was made elsewhere, before there was a head to ask; again: with another end.
  on("token.put", Access::admin,
     [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
       TokenRecord record = parse_token_record(request.body.at("record"));
       self.state.tokens().adopt(record, wall_now());
       for (const TokenRecord& kept : self.state.tokens().list())
         if (kept.id == record.id) self.state.journal(kept);
       info("token {} for role {} was brought by {}", record.id, role_name(record.role), request.peer.label);
       when_durable(self, channel, {{"id", record.id}});
     });
  on("token.list", Access::admin, [](Impl& self, const Request&, const ChannelPtr& channel) {
    nlohmann::json list = nlohmann::json::array();
    WallTime now = wall_now();
    auto all = self.state.tokens().list();
    // The newest ones when there are very many: an answer has its limit.
    for (size_t i = all.size() > 500 ? all.size() - 500 : 0; i < all.size(); ++i)
      list.push_back(shown(all[i], now));
    channel->respond({{"tokens", std::move(list)}});
  });
  on("token.revoke", Access::admin,
     [when_durable](Impl& self, const Request& request, const ChannelPtr& channel) {
       const TokenRecord& record = self.state.tokens().revoke(request.body.at("id").string());
       self.state.journal(record);
       info("token {} was revoked by {}", record.id, request.peer.label);
       // Operators that it admitted lose their streams now.
       for (const auto& [raw, session] : std::map(self.sessions.begin(), self.sessions.end()))
         if (const Peer& peer = session->connection->peer();
             (peer.kind == Peer::Kind::operator_ || peer.kind == Peer::Kind::admin) && peer.id == record.id)
           session->connection->close(fmt::format("token {} was revoked", record.id));
       when_durable(self, channel, {{"id", record.id}});
     });
}

}  // namespace rayctl::cluster
