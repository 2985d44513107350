// The one table of commands: options, help, completion scripts and man pages all come from these records.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/paths.h"

namespace rayctl::cli {

// The headings of `rayctl --help`, in this order.
enum class Group { images, node, cluster, other };

// What stands before or after any command.
struct Globals {
  Paths paths;                              // --state-dir, --run-dir
  bool run_dir_given = false;               // by --run-dir
  std::optional<std::string> context = {};  // --context
};

// A number of bytes, written like 512M or 4GiB (base/text.h, parse_size).
struct Size {
  uint64_t bytes = 0;
};

// One flag, option or positional, and where its value goes.
struct Argument {
  enum class Kind { flag, option, positional, rest };
  // Bound variables hold their defaults before parsing.
  using Target =
      std::variant<bool*, std::string*, std::optional<std::string>*, std::vector<std::string>*, uint64_t*,
                   std::optional<uint64_t>*, std::optional<double>*, std::optional<Size>*>;
  Kind kind;
  std::string names;  // "-t,--tag"; of a positional its name, "CONTEXT"
  std::string value;  // how help shows the value: "NAME[:TAG]"
  Target target;
  std::string help;  // one sentence, lower case, no full stop
  bool required = false;
  std::vector<std::string> choices = {};
};

Argument flag(std::string names, bool& target, std::string help);
Argument option(std::string names, std::string value, Argument::Target target, std::string help);
Argument choice(std::string names, std::vector<std::string> choices, Argument::Target target,
                std::string help);
Argument positional(std::string name, Argument::Target target, std::string help);  // may be left out
Argument required(Argument argument);
// Everything from here on, unparsed, options too (`exec ID CMD -x`); a leading "--" is dropped. Always the
// last.
Argument rest(std::string name, std::vector<std::string>& target, std::string help);

struct Example {
  std::string line;  // "rayctl build -t ray ."
  std::string says;  // what it does
};

// A command, or a family of them (`token create`). `run` returns the exit code; errors are thrown.
struct Command {
  std::string name;
  Group group = Group::other;
  std::string summary;  // one line, imperative, no full stop
  std::string description = {};
  std::vector<Argument> arguments = {};
  std::vector<Example> examples = {};
  std::function<int(const Globals&)> run = {};
  std::vector<Command> commands = {};
};

std::vector<Command> all_commands();  // commands.cc

// Parses argv and runs the command that it names. Help goes to stdout (exit code 0); a wrong line is a
// UsageError that names the argument and the help to read.
int dispatch(int argc, char** argv, const std::vector<Command>& commands);

std::string help_text(const std::vector<Command>& commands);             // rayctl --help
std::string help_text(const std::string& path, const Command& command);  // path: "rayctl token create"
std::string man_page(const std::string& path, const Command& command);   // roff, section 1
std::string man_page(const std::vector<Command>& commands);              // rayctl(1)
std::string completion_script(const std::string& shell,
                              const std::vector<Command>& commands);  // bash, zsh, fish

}  // namespace rayctl::cli
