// The operators' unix socket of a supervisor: run_dir/control.sock.
#pragma once

#include <sys/un.h>

#include <memory>
#include <string>

#include "cluster/control_connection.h"

namespace rayctl::cluster {

std::string control_socket_path(const std::string& run_dir);
sockaddr_un unix_address(const std::string& path);  // an Error when the path is too long for one

// Serves the table. The socket is 0660 root:rayctl where that group exists, else 0600. Root and the
// supervisor's own user are admins; others who may open it are operators.
class LocalServer {
 public:
  // Throws when another supervisor answers on it; a dead one's socket is replaced.
  LocalServer(boost::asio::io_context& io, const std::string& run_dir, RequestTable& requests);
  ~LocalServer();  // removes the socket

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
