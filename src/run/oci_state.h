// What an OCI runtime remembers of a container between two commands: ROOT/<id>/{state.json, config.json,
// start.sock}.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "run/hooks.h"
#include "run/spec.h"

namespace rayctl::run::oci {

struct Record {
  std::string id, bundle, rootfs, created, cgroup;  // created: RFC 3339; cgroup: empty = none of its own
  pid_t pid = 0;
  uint64_t start_time = 0;  // of `pid`, so that a reused number isn't taken for it
  uint32_t owner = 0;
};

enum class Status { creating, created, running, paused, stopped };
const char* name_of(Status status);

// The directory of one container. All paths are made from a checked id.
class StateDirectory {
 public:
  static StateDirectory create(const std::string& root,
                               const std::string& id);  // "already exists" when it does
  static StateDirectory open(const std::string& root,
                             const std::string& id);  // "does not exist" when it doesn't
  static std::vector<std::string> list(const std::string& root);

  void save(const Record& record) const;
  void save_config(std::string_view text) const;
  Record load() const;
  Spec spec() const;
  void remove() const;

  Fd listen() const;   // the gate at which a created container waits
  Fd connect() const;  // opens it; empty when nobody waits
  void close_gate() const;
  bool waits() const;

  const std::string& path() const { return path_; }

 private:
  explicit StateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Status status_of(const StateDirectory& directory, const Record& record);
ContainerState state_of(const Spec& spec, const Record& record, Status status);
std::string state_document(const Spec& spec, const Record& record, Status status);  // what `state` prints

// A signal to PID 1 of the container; false when it has ended.
bool send_signal(const Record& record, int signal);

void write_file(const std::string& path,
                std::string_view text);  // in place, not synced: /run is lost at reboot

}  // namespace rayctl::run::oci
