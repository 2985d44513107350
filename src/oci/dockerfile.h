// A Dockerfile as typed instructions: the whole language, before any variable is expanded.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "oci/dockerfile_lexer.h"

namespace rayctl::oci {

struct KeyValue {
  std::string key, value;
  bool operator==(const KeyValue&) const = default;
};

// What RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD run: a shell's text, or argv from the JSON form.
struct CommandLine {
  enum class Form { shell, exec };
  Form form = Form::shell;
  std::string text = {};               // of the shell form
  std::vector<std::string> argv = {};  // of the exec form
  std::vector<Heredoc> heredocs = {};
};

struct Declaration {
  std::string name;
  std::optional<std::string> value = {};
};

struct ArgInstruction {
  std::vector<Declaration> declarations;
};
struct EnvInstruction {
  std::vector<KeyValue> pairs;
};
struct LabelInstruction {
  std::vector<KeyValue> pairs;
};
struct MaintainerInstruction {
  std::string text;
};
struct WorkdirInstruction {
  std::string path;
};
struct UserInstruction {
  std::string user;
};
struct StopSignalInstruction {
  std::string signal;
};
struct ExposeInstruction {
  std::vector<std::string> ports;
};
struct VolumeInstruction {
  std::vector<std::string> paths;
};
struct ShellInstruction {
  std::vector<std::string> argv;
};
struct CmdInstruction {
  CommandLine command;
};
struct EntrypointInstruction {
  CommandLine command;
};
struct HealthcheckInstruction {
  bool none = false;
  CommandLine command = {};
  std::chrono::nanoseconds interval{}, timeout{}, start_period{}, start_interval{};
  int64_t retries = 0;
};
struct OnbuildInstruction {
  std::string trigger;  // one instruction as text, heredoc bodies included
};

// One `--mount=` of RUN; the values are as written, variables included.
struct RunMount {
  std::string type = "bind";
  std::string target = {}, source = {}, from = {}, id = {}, env = {}, sharing = {}, mode = {}, uid = {},
              gid = {}, size = {};
  std::optional<bool> readonly = {};
  bool required = false;
};

struct RunInstruction {
  CommandLine command;
  std::vector<RunMount> mounts = {};
  std::string network = "default";   // default, none, host
  std::string security = "sandbox";  // sandbox, insecure
  std::vector<std::string> devices = {};
};

// COPY and ADD. Sources are in order; a here-document among them is a word that names one of `files`.
struct CopyInstruction {
  enum class Kind { copy, add };
  Kind kind = Kind::copy;
  std::vector<std::string> sources = {};
  std::vector<Heredoc> files = {};
  std::string destination = {};
  std::string from = {}, chown = {}, chmod = {}, checksum = {};
  bool link = false, parents = false, keep_git_dir = false;
  std::optional<bool> unpack = {};
  std::vector<std::string> excludes = {};
};

using AnyInstruction =
    std::variant<ArgInstruction, EnvInstruction, LabelInstruction, MaintainerInstruction, WorkdirInstruction,
                 UserInstruction, StopSignalInstruction, ExposeInstruction, VolumeInstruction,
                 ShellInstruction, CmdInstruction, EntrypointInstruction, HealthcheckInstruction,
                 OnbuildInstruction, RunInstruction, CopyInstruction>;

struct Instruction {
  Place place;
  std::string keyword;
  std::string text;  // "COPY --from=x a b": one line, for progress and history
  AnyInstruction what;
};

struct Stage {
  Place place;
  std::string base;           // as written
  std::string name = {};      // lower case; empty when it has none
  std::string platform = {};  // of --platform, as written
  std::vector<Instruction> instructions = {};
};

struct Dockerfile {
  char escape = '\\';
  std::vector<std::pair<Place, ArgInstruction>> global_args = {};
  std::vector<Stage> stages = {};
  std::vector<std::string> notes = {};
};

// Every error begins with "FILE:LINE: " and names the instruction or the flag that is wrong.
Dockerfile parse_dockerfile(std::string_view text, const std::string& file);

// One instruction, as ONBUILD stores it in an image's configuration; `file` stands in errors.
Instruction parse_instruction(std::string_view text, char escape, const Place& place);

// Throws for what the language has and this version of rayctl doesn't do: by place and name.
void reject_unsupported(const Instruction& instruction);

}  // namespace rayctl::oci
