// A DNS server for any number of network namespaces, in one thread: the table's names, the rest forwarded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/dns_forward.h"
#include "net/dns_message.h"
#include "net/dns_table.h"
#include "net/netns.h"
#include "net/poller.h"

namespace rayctl::net {

// What a namespace is served on. An open socket keeps its namespace alive: close it when the container ends.
struct DnsSockets {
  Fd udp, tcp;
};

// Binds both on `address`:53 inside the namespace. SO_REUSEPORT lets a successor bind before we end.
DnsSockets bind_dns(const Netns& netns, const Address& address);

// 127.0.0.11: where containers ask.
const Address& container_resolver();

struct DnsLimits {
  size_t forwards = 1024;               // in flight at all; SERVFAIL above
  size_t forwards_per_namespace = 256;  // one container can't starve the others
  size_t connections_per_namespace = 32;
  std::chrono::seconds connection_idle{3};
};

class DnsServer {
 public:
  DnsServer(Poller& poller, const DnsLimits& limits = {});
  ~DnsServer();
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  void set_table(DnsTable table) { table_ = std::move(table); }
  void set_upstreams(std::vector<Upstream> upstreams) { forwarder_.set_upstreams(std::move(upstreams)); }
  void add(const std::string& id, DnsSockets sockets);  // replaces
  void remove(const std::string& id);
  size_t in_flight() const { return forwarder_.in_flight(); }

  // Answers what is queued on the sockets, then closes them; queries in flight still get their answers over
  // UDP sockets that stay open until the object goes.
  void drain();

 private:
  struct Namespace;
  struct Connection;
  using Reply = std::function<void(std::string answer)>;

  void on_datagrams(const std::shared_ptr<Namespace>& space);
  void on_connections(const std::shared_ptr<Namespace>& space);
  void on_connection(const std::shared_ptr<Connection>& connection, uint32_t events);
  void pump(const std::shared_ptr<Connection>& connection);
  bool flush(const std::shared_ptr<Connection>& connection);
  void end(const std::shared_ptr<Connection>& connection);
  void handle(const std::shared_ptr<Namespace>& space, std::string message, DnsTransport transport,
              const Reply& reply);
  void close(Namespace& space);
  const std::vector<std::string>* visible_to(const std::string& id) const;

  Poller& poller_;
  DnsLimits limits_;
  DnsTable table_;
  std::minstd_rand shuffle_;
  std::map<std::string, std::shared_ptr<Namespace>> spaces_;
  DnsForwarder forwarder_;
};

}  // namespace rayctl::net
