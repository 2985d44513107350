// What a supervisor answers, and to whom.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "cluster/control_channel.h"

namespace rayctl::cluster {

class Connection;

// Who is at the other end, and so what it may ask for.
struct Peer {
  enum class Kind { anonymous, node, head, operator_, admin };
  Kind kind = Kind::anonymous;
  std::string id = {};            // node id, or token id of an operator
  std::string label = {};         // for logs and answers: "uid 1000", "10.0.0.7:52110"
  std::optional<uid_t> uid = {};  // on the unix socket
};

// Who may use a request. The head may use every request of its nodes.
enum class Access { anyone, node, operate, admin };
bool allowed(const Peer& peer, Access access);
std::string refusal(const Peer& peer, Access access,
                    std::string_view request);  // why not, and what would be needed

struct Request {
  std::string name;
  Json body;
  Peer peer;
  std::shared_ptr<Connection> connection;
};

// Answers now or later by channel->respond() or fail(); a thrown Error is the same as fail().
using RequestHandler = std::function<void(const Request& request, const ChannelPtr& channel)>;

// What a process answers, whoever asks over whichever socket; rights are checked before the handler runs.
class RequestTable {
 public:
  void on(std::string name, Access access, RequestHandler handler);
  void dispatch(const Request& request, const ChannelPtr& channel) const;

 private:
  struct Entry {
    Access access;
    RequestHandler handler;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace rayctl::cluster
