#include "fleet/acl.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/error.h"
#include "base/fd.h"
#include "base/http.h"
#include "base/text.h"
#include "base/url.h"
#include "cluster/control_address.h"

namespace rayctl::fleet {

namespace {

bool is_v6(const std::string& address) {
  return address.find(':') != std::string::npos;
}

std::string with_length(const std::string& address) {
  if (address.find('/') != std::string::npos) return address;
  return address + (is_v6(address) ? "/128" : "/32");
}

bool is_address(const std::string& text) {
  in6_addr v6{};
  in_addr v4{};
  return inet_pton(AF_INET, text.c_str(), &v4) == 1 || inet_pton(AF_INET6, text.c_str(), &v6) == 1;
}

// The kernel chooses the source address when a datagram socket is connected; nothing is sent.
std::string source_towards(const std::string& url) {
  Url parsed = parse_url(url);
  std::string host = parsed.host;
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  std::atomic<bool> stop{false};
  auto addresses = cluster::resolve({host, parsed.port}, stop);
  if (addresses.empty()) throw Error("cannot resolve '{}'", host);
  const cluster::SocketAddress& there = addresses.front();
  Fd socket(check(::socket(there.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), "cannot make a socket"));
  check(connect(socket.get(), reinterpret_cast<const sockaddr*>(&there.storage), there.size),
        "cannot find the way to '{}'", host);
  cluster::SocketAddress here;
  here.size = sizeof here.storage;
  check(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&here.storage), &here.size),
        "cannot tell this computer's address");
  return cluster::format_address(here.storage);
}

}  // namespace

std::vector<std::string> admin_cidrs(const std::vector<std::string>& acl,
                                     const std::function<std::string()>& caller) {
  std::vector<std::string> cidrs;
  std::optional<std::string> own;
  for (const std::string& entry : acl.empty() ? std::vector<std::string>{"local"} : acl) {
    if (entry == "local") {
      if (!own) own = caller();
      cidrs.push_back(with_length(*own));
    } else {
      cidrs.push_back(with_length(entry));
    }
  }
  std::sort(cidrs.begin(), cidrs.end());
  cidrs.erase(std::unique(cidrs.begin(), cidrs.end()), cidrs.end());
  return cidrs;
}

std::vector<cloud::Firewall::Ports> public_ports(const stitch::Deployment& deployment) {
  std::vector<cloud::Firewall::Ports> ports;
  for (const stitch::Connection& connection : deployment.connections)
    if (connection.from == stitch::public_label) ports.push_back({connection.min_port, connection.max_port});
  auto key = [](const cloud::Firewall::Ports& p) { return std::pair(p.first, p.last); };
  std::sort(ports.begin(), ports.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  ports.erase(
      std::unique(ports.begin(), ports.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }),
      ports.end());
  return ports;
}

std::string caller_address(const CallerQuery& query) {
  if (query.provider == "Local") return "127.0.0.1";
  try {
    if (!query.endpoint.empty() && query.service.empty()) return source_towards(query.endpoint);
    HttpOptions options;
    options.connect_timeout = std::chrono::seconds(10);
    options.stall_timeout = std::chrono::seconds(10);
    Http http(options);
    std::string url = query.service.empty() ? default_address_service : query.service;
    HttpResponse answer = http.follow({.url = url, .limit = 4096});
    std::string address(trim(answer.body));
    if (answer.status != 200 || !is_address(address))
      throw Error("'{}' didn't answer with an address (status {})", show_url(url), answer.status);
    return address;
  } catch (Interrupted&) {
    throw;
  } catch (Error& e) {
    e.prefix("cannot tell this computer's public address, which AdminACL \"local\" stands for");
    e.hint("name it: --admin-cidr ADDRESS/32");
    throw;
  }
}

}  // namespace rayctl::fleet
