#include "cluster/control_requests.h"

#include "base/error.h"
#include "base/text.h"

namespace rayctl::cluster {

bool allowed(const Peer& peer, Access access) {
  switch (peer.kind) {
    case Peer::Kind::head:
      return true;
    case Peer::Kind::admin:
      return access != Access::node;
    case Peer::Kind::operator_:
      return access == Access::operate || access == Access::anyone;
    case Peer::Kind::node:
      return access == Access::node || access == Access::anyone;
    case Peer::Kind::anonymous:
      return access == Access::anyone;
  }
  return false;
}

std::string refusal(const Peer& peer, Access access, std::string_view request) {
  std::string_view need = access == Access::node ? "a node's certificate"
                          : access == Access::operate
                              ? "an operator's or admin's certificate, or the group rayctl"
                              : "root (uid 0) on the head or an admin's certificate";
  return fmt::format("cannot use '{}' as {}: permission denied (it needs {})", printable(request), peer.label,
                     need);
}

void RequestTable::on(std::string name, Access access, RequestHandler handler) {
  entries_[std::move(name)] = {access, std::move(handler)};
}

void RequestTable::dispatch(const Request& request, const ChannelPtr& channel) const {
  auto entry = entries_.find(request.name);
  if (entry == entries_.end())
    return channel->fail(
        fmt::format("cannot answer '{}': unknown to this version", printable(request.name.substr(0, 64))));
  if (!allowed(request.peer, entry->second.access))
    return channel->fail(refusal(request.peer, entry->second.access, request.name));
  try {
    entry->second.handler(request, channel);
  } catch (const std::exception& e) {  // the boundary of one request: it fails, the process goes on
    channel->fail(e.what());
  }
}

}  // namespace rayctl::cluster
