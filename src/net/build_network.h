// The network of one build step: a namespace of its own with NAT egress, a resolver, and no way to the
// cloud's metadata service.
#pragma once

#include <memory>
#include <string>

namespace rayctl::net {

// Lives as long as the object; everything is removed by the destructor, and what a killed process left is
// swept when the next one starts (names carry the pid). Thread-safe against others in any process.
class BuildNetwork {
 public:
  // Names are resolved by a thread of this process, from the host's upstreams.
  explicit BuildNetwork(const std::string& run_dir);
  ~BuildNetwork();
  BuildNetwork(const BuildNetwork&) = delete;
  BuildNetwork& operator=(const BuildNetwork&) = delete;

  const std::string& netns_path() const;                 // for the container's spec
  std::string resolv_conf() const;                       // the step's /etc/resolv.conf
  std::string hosts(const std::string& hostname) const;  // the step's /etc/hosts

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rayctl::net
