// What the head tells a node, and what the node tells the head.
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_client_impl.h"
#include "cluster/control_protocol.h"

namespace rayctl::cluster {

namespace {

constexpr std::chrono::milliseconds flush_delay{200};
constexpr size_t small_view = 200;  // nodes
constexpr std::chrono::seconds save_small{1}, save_large{10};

}  // namespace

const Node* ControlClient::Impl::self_in_view() const {
  auto it = view.nodes.find(id);
  return it == view.nodes.end() ? nullptr : &it->second;
}

void ControlClient::Impl::hello(const Json& hello) {
  if (ready_for_use) throw Error("it greets twice");
  if (auto reason = hello.find("refused")) {
    std::string text = printable(reason->string());
    if (hello.boolean_or("final", false)) return refused(text);
    return connection->close(text);
  }
  if (hello.at("protocol").size() != protocol_version)
    return refused("cannot join: the head runs another version of rayctl (use the same on all nodes)");
  if (joining)
    take_certificate(hello);
  else
    ready(hello);
}

void ControlClient::Impl::take_certificate(const Json& hello) {
  X509Ptr certificate = parse_certificate(hello.at("certificate").string(), "from the head");
  // The CA is the one that the handshake pinned, whatever the message says.
  X509Ptr authority = connection->authority();
  if (!authority) throw Error("the head showed no CA");
  if (std::string reason = verify_certificate(certificate, authority, wall_now()); !reason.empty())
    throw Error("the head's answer can't be used: {}", reason);
  if (certificate_info(certificate).identity.id != id) throw Error("the head's answer is for another node");
  save_certificate(directory, certificate, authority, connection->root());
  credentials = load_credentials(directory);
  config.token.reset();
  // Another cluster's view, or one from before a reset, is worth nothing now.
  if (view.cluster.id != certificate_info(certificate).identity.cluster) view = {};
  connection->close("");
}

void ControlClient::Impl::ready(const Json& hello) {
  uint64_t epoch = hello.at("epoch").size(), state = hello.at("state").size();
  std::string cluster = hello.at("cluster").string();
  if (view.cluster.id == cluster && view.epoch > epoch)
    warn("the head came back with an older state (epoch {} after {}): was it restored from a backup?", epoch,
         view.epoch);
  view.epoch = epoch;
  ready_for_use = true;
  attempts = 0;
  error.clear();
  deadline.cancel();
  connection->admit({.kind = Peer::Kind::head, .id = {}, .label = "the head"});
  if (unreachable_since != Clock::time_point{})
    info("the head {} is reached again after {}", format_host_port(head),
         human_duration(Clock::now() - unreachable_since));
  unreachable_since = {};
  report_sent = report.empty();
  names_sent = !names;
  facts_sent = true;  // the greeting had them
  beat();
  if (callbacks.on_connected) callbacks.on_connected();
  // Nothing changed while it was away: no delta will come.
  if (view.version == state && self_in_view() && !announced) announce({});
  flush();
}

void ControlClient::Impl::notify(const std::string& name, const Json& body) {
  if (name == "state") take_delta(body);  // others are a newer head's
}

void ControlClient::Impl::take_delta(const Json& body) {
  Delta delta = parse_delta(body);
  try {
    pending_changes.merge(apply(view, delta));
  } catch (const Error&) {
    view.version = 0;  // the next greeting asks for everything
    throw;
  }
  if (delta.more) return;
  view_saved = false;
  save_view_soon();
  if (self_in_view()) announce(std::exchange(pending_changes, {}));
}

void ControlClient::Impl::announce(const std::set<std::string>& changed) {
  std::set<std::string> ids = changed;
  if (!announced)
    for (const auto& [node, record] : view.nodes) ids.insert(node);
  announced = true;
  if (callbacks.on_view) callbacks.on_view(view, ids);
}

void ControlClient::Impl::load_view() {
  std::string path = join(directory, "view.json");
  try {
    if (auto text = read_file_if_exists(path)) view = parse_view(Json::parse(*text, path));
  } catch (const Error& e) {  // it is only a copy: the head has the original
    warn("{} (it will be fetched from the head)", e.message());
    view = {};
  }
  if (credentials.certificate &&
      view.cluster.id != certificate_info(credentials.certificate).identity.cluster)
    view = {};
}

void ControlClient::Impl::save_view() {
  view_saved = true;
  replace_file(join(directory, "view.json"), to_json(view).dump() + "\n", 0600);
}

void ControlClient::Impl::save_view_soon() {
  if (save_timer.expiry() > Clock::now()) return;  // set already
  save_timer.expires_after(view.nodes.size() < small_view ? save_small : save_large);
  save_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& code) {
    auto self = weak.lock();
    if (code || !self || self->stopped || self->view_saved) return;
    try {
      self->save_view();
    } catch (const Error& e) {  // a full disk must not stop the node: the copy is older, that's all
      warn("{}", e.message());
    }
  });
}

void ControlClient::Impl::beat() {
  if (!ready_for_use || stopped) return;
  standing_still = connection->stands_still();
  if (Clock::now() - connection->last_heard() > config.head_silent) {
    standing_still = true;
    return connection->close(fmt::format("the head was silent for {}", human_duration(config.head_silent)));
  }
  connection->ping();
  renew_if_due();
  // 5 s +- 10 %: thousands of nodes spread out.
  double share = static_cast<unsigned char>(random_bytes(1)[0]) / 256.0;
  beat_timer.expires_after(std::chrono::milliseconds(
      static_cast<int64_t>(static_cast<double>(config.heartbeat.count()) * (0.9 + 0.2 * share))));
  beat_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& code) {
    auto self = weak.lock();
    if (!code && self) self->beat();
  });
}

void ControlClient::Impl::flush_soon() {
  if (flush_timer.expiry() > Clock::now()) return;
  flush_timer.expires_after(flush_delay);
  flush_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& code) {
    auto self = weak.lock();
    if (!code && self) self->flush();
  });
}

void ControlClient::Impl::flush() {
  if (!ready_for_use || stopped) return;
  // A lost connection needs no word: after the next greeting everything is sent again.
  auto told = [weak = weak_from_this()](const char* what) {
    return [weak, what](const Reply& reply) {
      auto self = weak.lock();
      if (!reply.ok() && self && self->ready_for_use)
        warn("the head did not take this node's {}: {}", what, reply.error);
    };
  };
  if (!std::exchange(report_sent, true)) connection->notify_encoded(report);
  if (!std::exchange(names_sent, true))
    connection->request("names", {{"names", names->addresses}, {"ill", names->ill}}, told("names"));
  if (!std::exchange(facts_sent, true)) {
    NodeFacts facts = config.facts;
    if (facts.underlay.empty()) facts.underlay = connection->local_address();
    connection->request("facts", {{"node", to_json(facts)}}, told("facts"));
  }
}

void ControlClient::Impl::renew_if_due() {
  if (wall_now() < renewal_time(certificate_info(credentials.certificate), renewal_point)) return;
  if (Clock::now() - renewal_tried < std::chrono::minutes(1) && renewal_tried != Clock::time_point{}) return;
  renewal_tried = Clock::now();
  connection->request(
      "renew", {{"csr", make_csr(credentials.key)}},
      [weak = weak_from_this()](const Reply& reply) {
        auto self = weak.lock();
        if (!self || self->stopped) return;
        if (!reply.ok())
          return warn("this node's certificate was not renewed: {} (trying again)", reply.error);
        try {
          X509Ptr certificate = parse_certificate(reply.value().at("certificate").string(), "from the head");
          X509Ptr authority = self->connection->authority(), root = self->connection->root();
          if (!authority) throw Error("the head showed no CA");
          if (std::string reason = verify_certificate(certificate, authority, wall_now());
              !reason.empty() || certificate_info(certificate).identity.id != self->id)
            throw Error("the head's answer can't be used: {}",
                        reason.empty() ? "it is for another node" : reason);
          save_certificate(self->directory, certificate, authority, root);
          self->credentials = load_credentials(self->directory);
          info("this node's certificate was renewed");
        } catch (const Error& e) {  // the old one is good for a while
          warn("this node's certificate was not renewed: {}", e.message());
        }
      },
      std::chrono::seconds(30));
}

}  // namespace rayctl::cluster
