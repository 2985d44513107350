// A stage while it is built: each instruction, expanded, changes the image's configuration or asks for an
// action.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "oci/build_graph.h"
#include "oci/config.h"

namespace rayctl::oci {

// RUN, ready to execute. `script` is the body of a heredoc with a #! line: a file that argv[0] names.
struct RunAction {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // of the image, and the ARGs in scope
  std::string cwd, user, network;
  std::string script_name = {}, script = {};
  std::vector<RunMount> mounts = {};  // expanded; targets are absolute
};

// One source of COPY or ADD: a path or pattern, or a file with this content.
struct CopySource {
  std::string path;  // of a heredoc: its name
  std::optional<std::string> content = {};
};

struct CopyAction {
  CopyInstruction::Kind kind = CopyInstruction::Kind::copy;
  std::vector<CopySource> sources;
  std::string destination;             // absolute; ends with '/' when it must be a directory
  std::string from = {};               // as written
  std::string chown = {}, chmod = {};  // expanded
  std::vector<std::string> excludes = {};
  bool link = false, parents = false;
  bool unpack = false;  // a local archive is extracted
};

struct DirectoryAction {  // WORKDIR
  std::string path;
  std::string user;
};

struct ConfigAction {};  // nothing but the configuration changed

using Action = std::variant<ConfigAction, RunAction, CopyAction, DirectoryAction>;

struct Effect {
  Action action = ConfigAction{};
  std::string created_by = {};  // for history
};

// ARGs in scope, in the order of their declaration; the last of a name counts.
using Declared = std::vector<std::pair<std::string, std::string>>;

// Pure: what a stage's instructions mean one after the other. An instruction is expanded with the variables
// as they were before it.
class StageState {
 public:
  // `base`: of the image or stage that it begins from; its history and layers stay the caller's business.
  // `inherited`: the ARGs of the stage that it begins from.
  StageState(ImageConfig base, const Variables& build_args, const Variables& global_args, char escape,
             Declared inherited = {});

  Effect apply(const Instruction& instruction);
  ImageConfig& config() { return config_; }
  const std::set<std::string>& used_args() const { return used_; }
  const Declared& args() const { return args_; }

 private:
  std::optional<std::string> lookup(const std::string& name) const;
  std::string expanded(const Place& place, const std::string& text) const;
  void set_env(const std::string& key, const std::string& value);
  std::vector<std::string> shell() const;
  std::vector<std::string> command(const CommandLine& line) const;

  Effect arg(const Place& place, const ArgInstruction& arg);
  Effect env(const Place& place, const EnvInstruction& env);
  Effect label(const Place& place, const LabelInstruction& label);
  Effect workdir(const Place& place, const WorkdirInstruction& workdir);
  Effect user(const Place& place, const UserInstruction& user);
  Effect stop_signal(const Place& place, const StopSignalInstruction& stop);
  Effect expose(const Place& place, const ExposeInstruction& expose);
  Effect volume(const Place& place, const VolumeInstruction& volume);
  Effect cmd(const CmdInstruction& cmd);
  Effect entrypoint(const EntrypointInstruction& entrypoint);
  Effect healthcheck(const HealthcheckInstruction& check);
  Effect run(const Place& place, const RunInstruction& run);
  Effect copy(const Instruction& instruction, const CopyInstruction& copy);

  ImageConfig config_;
  const Variables& build_args_;
  const Variables& global_args_;
  char escape_;
  Declared args_;
  std::set<std::string> used_;  // build arguments that a declaration took
  bool cmd_set_ = false;
};

inline constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A heredoc with a #! line becomes a file here, for the time of its RUN.
inline constexpr const char* script_directory = "/dev/pipes";

}  // namespace rayctl::oci
