// Where an operator's computer keeps its clusters: one directory each, one owner at a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"

namespace rayctl::fleet {

// The files of one cluster, in cluster::cluster_home(NAME); the cluster's root CA is there too. Made with
// mode 0700 by the first that writes.
struct Home {
  std::string directory;

  std::string deployment() const { return join(directory, "deployment.json"); }
  std::string settings() const { return join(directory, "settings.json"); }  // what `up` was told besides
  std::string machines() const { return join(directory, "machines.json"); }  // the journal
  std::string view() const { return join(directory, "view.json"); }          // how it looked last
  std::string secrets() const { return join(directory, "secrets.json"); }    // 0600: tokens not used up yet
  std::string root() const { return directory; }                             // cluster::Root's files
  std::string ssh_key() const { return join(directory, "ssh_key"); }
  std::string known_hosts() const { return join(directory, "known_hosts"); }
  std::string user_data() const {
    return join(directory, "user-data");
  }  // documents of boots not confirmed yet
  std::string owner() const { return join(directory, "owner"); }
};

// A UsageError for a name that can't be a namespace.
Home home_of(const std::string& name_space);
std::vector<std::string> known_clusters();  // that have machines, or may have some; sorted

// Says who else works on the cluster, as far as it can be told: "process 4711 (rayctl up), since …".
struct OwnerNote {
  int64_t pid = 0;
  std::string what;  // "up", "daemon", "down"; look_at_it
};
constexpr const char* look_at_it = "look";  // changes nothing, and is done in a moment

// One process at a time changes a cluster: holds a lock until it ends, however it ends.
class Ownership {
 public:
  // Makes the directory. Waits for one that only looks (30 s at most); otherwise an Error that says who owns
  // it now and what to do. Throws Interrupted.
  static Ownership take(const Home& home, const std::string& name_space, const std::string& what);
  static std::optional<Ownership> try_take(const Home& home, const std::string& what);
  static std::optional<OwnerNote> current(const Home& home);  // empty: nobody owns it

 private:
  explicit Ownership(FileLock lock) : lock_(std::move(lock)) {}
  FileLock lock_;
};

}  // namespace rayctl::fleet
