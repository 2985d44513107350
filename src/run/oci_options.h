// The command line of an OCI runtime, as podman, conmon, containerd and Docker type it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::run::oci {

// What one command takes. Options may stand before and after the container's id, "--name=value" and "--name
// value".
struct Grammar {
  std::vector<std::string_view> flags = {};   // "-d|--detach": alternatives, the last one names the result
  std::vector<std::string_view> values = {};  // "-b|--bundle"
  size_t least = 1, most = 1;                 // positionals
  bool command_follows = false;               // `exec ID CMD…`: after the id nothing is an option
};

class Arguments {
 public:
  // Throws UsageError for unknown options and wrong counts.
  Arguments(const Grammar& grammar, std::string_view command, const std::vector<std::string>& words);

  bool has(std::string_view name) const { return values_.count(std::string(name)) > 0; }
  std::string value(std::string_view name, std::string fallback = {}) const;  // the last one
  std::vector<std::string> all(std::string_view name) const;
  std::optional<int64_t> number(std::string_view name) const;  // UsageError when it is none
  std::optional<int64_t> bytes(std::string_view name) const;   // "-1", "67108864", "64M", as runc takes them
  const std::vector<std::string>& positionals() const { return positionals_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positionals_;
};

// Before the command: --root, --log, ….
struct Global {
  std::string root;
  std::string log;
  bool log_json = false;
  bool debug = false;
  bool cgroups = true;  // --cgroup-manager disabled
};

// "TERM", "SIGTERM", "15", "SIGRTMIN+3"; UsageError when unknown.
int parse_signal(std::string_view text);

// Identifiers become directory names: letters, digits, _ + - . and no leading dot.
void check_id(const std::string& id);

}  // namespace rayctl::run::oci
