// The head's control port before the head has a cluster.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cluster/claim.h"
#include "cluster/control_server.h"

namespace rayctl::cluster {

// Listens from start() on, for the operator that the token names; everybody else is told to come again.
class ClaimServer {
 public:
  // `directory` is the cluster's (0700). `on_claimed` comes once, from the loop, after the operator has its
  // answer: everything that ClusterState::open() needs is on the disk and the port is free.
  ClaimServer(boost::asio::io_context& io, const std::string& directory, const Token& token,
              const ServerConfig& config, std::function<void(const ClaimRecord&)> on_claimed);
  ~ClaimServer();
  void start();  // throws as ControlServer's
  uint16_t port() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
