// Operators by name: admins add and remove them, each renews its own certificate.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

void ControlServer::Impl::register_operator_requests() {
  on("operators", Access::admin, [](Impl& self, const Request&, const ChannelPtr& channel) {
    nlohmann::json list = nlohmann::json::array();
    for (const OperatorRecord& record : self.state.operators().list())
      if (record.active) list.push_back(to_json(record));
    channel->respond({{"operators", std::move(list)}});
  });
  on("operator.add", Access::admin, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    std::string name = request.body.at("name").string();
    MemberRole role = role_by_name(request.body.at("role").string()).value_or(MemberRole::worker);
    WallTime now = wall_now();
    const Authority& authority = self.state.authority();
    // The certificate first: what can't be signed adds nobody.
    if (role != MemberRole::operator_ && role != MemberRole::admin)
      throw Error("cannot add operator '{}': the role is operator or admin", printable(name));
    X509Ptr certificate = authority.sign(request.body.at("csr").string(),
                                         {self.state.cluster().id, role, operator_id(name)}, now);
    self.state.operators().forget_old(now);
    self.state.journal(self.state.operators().add(name, role, now));
    info("operator '{}' ({}) was added by {}", name, role_name(role), request.peer.label);
    nlohmann::json answer = {{"certificate", to_pem(certificate)},
                             {"root", to_pem(authority.root() ? authority.root() : authority.certificate())},
                             {"cluster", self.state.cluster().id}};
    self.durable([channel, answer = std::move(answer)] { channel->respond(answer); });
  });
  on("operator.remove", Access::admin, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    WallTime now = wall_now();
    const OperatorRecord& record = self.state.operators().remove(request.body.at("name").string(), now);
    self.state.journal(record);
    info("operator '{}' was removed by {}", record.name, request.peer.label);
    // Who has asked for its own removal still gets its answer: streams end once it is on the disk.
    self.durable([weak = self.weak_from_this(), channel, name = record.name, id = operator_id(record.name)] {
      channel->respond({{"name", name}});
      auto self = weak.lock();
      if (!self) return;
      for (const auto& [raw, session] : std::map(self->sessions.begin(), self->sessions.end()))
        if (session->connection->peer().id == id)
          session->connection->close(fmt::format("operator '{}' was removed", name));
    });
  });
  on("operator.renew", Access::operate, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    std::optional<std::string> name = operator_name(request.peer.id);
    if (!name)
      throw Error("cannot renew a certificate of {}: only named operators have one", request.peer.label);
    MemberRole role = request.peer.kind == Peer::Kind::admin ? MemberRole::admin : MemberRole::operator_;
    WallTime now = wall_now();
    X509Ptr certificate = self.state.authority().sign(request.body.at("csr").string(),
                                                      {self.state.cluster().id, role, request.peer.id}, now);
    // One that the root vouched for is unknown here until now.
    if (!self.state.operators().find(*name)) self.state.journal(self.state.operators().add(*name, role, now));
    debug("the certificate of {} was renewed", request.peer.label);
    self.durable([channel, pem = to_pem(certificate)] { channel->respond({{"certificate", pem}}); });
  });
}

}  // namespace rayctl::cluster
