// Who may reach the cluster's machines from outside: the spec's AdminACL as a firewall.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cloud/provider.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

// The AdminACL (nothing in it: "local") with "local" replaced by what `caller` says; each with its length,
// sorted, none twice. `caller` is asked at most once, and only for "local".
std::vector<std::string> admin_cidrs(const std::vector<std::string>& acl,
                                     const std::function<std::string()>& caller);

// TCP ports that the spec opens to everyone: its connections from "public".
std::vector<cloud::Firewall::Ports> public_ports(const stitch::Deployment& deployment);

// This computer's address as a provider sees it: asked at `service` (a URL that answers with nothing else)
// when the provider is a public cloud; with an endpoint that was given, the address of the interface that
// leads there. Local: its own loopback address.
struct CallerQuery {
  std::string provider;
  std::string endpoint;  // empty = the provider's own
  std::string service;   // empty = default_address_service
};
inline constexpr const char* default_address_service = "https://checkip.amazonaws.com";
std::string caller_address(const CallerQuery& query);

}  // namespace rayctl::fleet
