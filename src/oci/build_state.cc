#include "oci/build_state.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "oci/pattern.h"

namespace rayctl::oci {

namespace {

std::string json_list(const std::vector<std::string>& words) {
  return nlohmann::json(words).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string joined(const std::vector<std::string>& words, std::string_view separator = " ") {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : separator).append(word);
  return text;
}

// "8000-8010/udp" -> each port with its protocol.
void add_ports(std::set<std::string>& ports, const std::string& text, const Place& place) {
  size_t slash = text.find('/');
  std::string protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  for (char& c : protocol) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string range = text.substr(0, slash);
  size_t dash = range.find('-');
  auto port = [&](const std::string& digits) {
    unsigned value = 0;
    auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (code != std::errc() || end != digits.data() + digits.size() || value < 1 || value > 65535)
      throw error_at(place, "EXPOSE: '{}' is no port (1-65535, a range, /tcp, /udp or /sctp)",
                     printable(text));
    return value;
  };
  unsigned first = port(range.substr(0, dash)),
           last = dash == std::string::npos ? first : port(range.substr(dash + 1));
  if (last < first || (protocol != "tcp" && protocol != "udp" && protocol != "sctp"))
    throw error_at(place, "EXPOSE: '{}' is no port (1-65535, a range, /tcp, /udp or /sctp)", printable(text));
  for (unsigned p = first; p <= last; ++p) ports.insert(fmt::format("{}/{}", p, protocol));
}

bool is_signal(const std::string& text) {
  if (all_digits(text)) return text.size() <= 2 && std::stoi(text) >= 1 && std::stoi(text) <= 64;
  static const std::set<std::string> names = {
      "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",  "SEGV",
      "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",  "TTOU",
      "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS",  "RTMIN", "RTMAX"};
  std::string name = text.substr(0, 3) == "SIG" ? text.substr(3) : text;
  size_t sign = name.find_first_of("+-");
  if (sign != std::string::npos) {
    std::string number = name.substr(sign + 1);
    name.resize(sign);
    if ((name != "RTMIN" && name != "RTMAX") || number.size() > 2 || !all_digits(number) ||
        std::stoi(number) > 30)
      return false;
  }
  return names.contains(name);
}

}  // namespace

StageState::StageState(ImageConfig base, const Variables& build_args, const Variables& global_args,
                       char escape, Declared inherited)
    : config_(std::move(base)),
      build_args_(build_args),
      global_args_(global_args),
      escape_(escape),
      args_(std::move(inherited)) {
  if (!find_env(config_, "PATH"))
    config_.env.insert(config_.env.begin(), std::string("PATH=") + default_path);
}

std::optional<std::string> StageState::lookup(const std::string& name) const {
  if (auto found = find_env(config_, name)) return found;
  for (auto arg = args_.rbegin(); arg != args_.rend(); ++arg)
    if (arg->first == name) return arg->second;
  if (is_proxy_variable(name))
    if (auto given = build_args_.find(name); given != build_args_.end()) return given->second;
  return std::nullopt;
}

std::string StageState::expanded(const Place& place, const std::string& text) const {
  try {
    return expand(
        text, [&](const std::string& name) { return lookup(name); }, escape_);
  } catch (Error& error) {
    error.prefix("{}:{}", place.file, place.line);
    throw;
  }
}

void StageState::set_env(const std::string& key, const std::string& value) {
  std::string entry = key + "=" + value;
  for (std::string& existing : config_.env)
    if (existing.compare(0, key.size() + 1, key + "=") == 0) {
      existing = std::move(entry);
      return;
    }
  config_.env.push_back(std::move(entry));
}

std::vector<std::string> StageState::shell() const {
  return config_.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config_.shell;
}

std::vector<std::string> StageState::command(const CommandLine& line) const {
  if (line.form == CommandLine::Form::exec) return line.argv;
  std::vector<std::string> argv = shell();
  argv.push_back(line.text);
  return argv;
}

Effect StageState::apply(const Instruction& instruction) {
  const Place& place = instruction.place;
  const AnyInstruction& what = instruction.what;
  if (auto* x = std::get_if<ArgInstruction>(&what)) return arg(place, *x);
  if (auto* x = std::get_if<EnvInstruction>(&what)) return env(place, *x);
  if (auto* x = std::get_if<LabelInstruction>(&what)) return label(place, *x);
  if (auto* x = std::get_if<WorkdirInstruction>(&what)) return workdir(place, *x);
  if (auto* x = std::get_if<UserInstruction>(&what)) return user(place, *x);
  if (auto* x = std::get_if<StopSignalInstruction>(&what)) return stop_signal(place, *x);
  if (auto* x = std::get_if<ExposeInstruction>(&what)) return expose(place, *x);
  if (auto* x = std::get_if<VolumeInstruction>(&what)) return volume(place, *x);
  if (auto* x = std::get_if<CmdInstruction>(&what)) return cmd(*x);
  if (auto* x = std::get_if<EntrypointInstruction>(&what)) return entrypoint(*x);
  if (auto* x = std::get_if<HealthcheckInstruction>(&what)) return healthcheck(*x);
  if (auto* x = std::get_if<RunInstruction>(&what)) return run(place, *x);
  if (auto* x = std::get_if<CopyInstruction>(&what)) return copy(instruction, *x);
  if (auto* x = std::get_if<MaintainerInstruction>(&what)) {
    config_.author = x->text;
    return {{}, "MAINTAINER " + x->text};
  }
  if (auto* x = std::get_if<ShellInstruction>(&what)) {
    config_.shell = x->argv;
    return {{}, "SHELL " + json_list(x->argv)};
  }
  const auto& onbuild = std::get<OnbuildInstruction>(what);
  config_.on_build.push_back(onbuild.trigger);
  return {{}, "ONBUILD " + onbuild.trigger};
}

Effect StageState::arg(const Place& place, const ArgInstruction& arg) {
  std::string text = "ARG";
  std::vector<std::pair<std::string, std::string>> values;
  for (const Declaration& declaration : arg.declarations) {
    const std::string& name = declaration.name;
    std::optional<std::string> value;
    if (auto given = build_args_.find(name); given != build_args_.end()) {
      value = given->second;
      used_.insert(name);
    } else if (declaration.value) {
      value = expanded(place, *declaration.value);
    } else if (auto global = global_args_.find(name); global != global_args_.end()) {
      value = global->second;
    }
    text += " " + name;
    if (!value || is_proxy_variable(name)) continue;
    text += "=" + *value;
    values.emplace_back(name, *value);
  }
  args_.insert(args_.end(), values.begin(), values.end());
  return {{}, text};
}

Effect StageState::env(const Place& place, const EnvInstruction& env) {
  std::string text = "ENV";
  std::vector<KeyValue> values;
  for (const KeyValue& pair : env.pairs) {
    values.push_back({expanded(place, pair.key), expanded(place, pair.value)});
    if (values.back().key.empty() || values.back().key.find('=') != std::string::npos)
      throw error_at(place, "ENV: '{}' is no name", printable(values.back().key));
    text += " " + values.back().key + "=" + values.back().value;
  }
  for (const KeyValue& value : values) set_env(value.key, value.value);
  return {{}, text};
}

Effect StageState::label(const Place& place, const LabelInstruction& label) {
  std::string text = "LABEL";
  std::vector<KeyValue> values;
  for (const KeyValue& pair : label.pairs) {
    values.push_back({expanded(place, pair.key), expanded(place, pair.value)});
    if (values.back().key.empty()) throw error_at(place, "LABEL: a name is empty");
    text += " " + values.back().key + "=" + values.back().value;
  }
  for (KeyValue& value : values) config_.labels[value.key] = value.value;
  return {{}, text};
}

Effect StageState::workdir(const Place& place, const WorkdirInstruction& workdir) {
  std::string path = expanded(place, workdir.path);
  if (path.empty()) throw error_at(place, "WORKDIR: the path is empty");
  if (path.front() != '/') path = (config_.workdir.empty() ? "/" : config_.workdir + "/") + path;
  config_.workdir = clean_path(path);
  return {DirectoryAction{config_.workdir, config_.user}, "WORKDIR " + config_.workdir};
}

Effect StageState::user(const Place& place, const UserInstruction& user) {
  std::string name = expanded(place, user.user);
  if (name.empty()) throw error_at(place, "USER: the name is empty");
  config_.user = name;
  return {{}, "USER " + name};
}

Effect StageState::stop_signal(const Place& place, const StopSignalInstruction& stop) {
  std::string signal = expanded(place, stop.signal);
  if (!is_signal(signal)) throw error_at(place, "STOPSIGNAL: '{}' is no signal", printable(signal));
  config_.stop_signal = signal;
  return {{}, "STOPSIGNAL " + signal};
}

Effect StageState::expose(const Place& place, const ExposeInstruction& expose) {
  std::vector<std::string> words;
  for (const std::string& port : expose.ports) {
    std::vector<std::string> more;
    try {
      more = expand_words(
          port, [&](const std::string& name) { return lookup(name); }, escape_);
    } catch (Error& error) {
      error.prefix("{}:{}", place.file, place.line);
      throw;
    }
    words.insert(words.end(), more.begin(), more.end());
  }
  if (words.empty()) throw error_at(place, "EXPOSE: there is no port");
  for (const std::string& word : words) add_ports(config_.exposed_ports, word, place);
  return {{}, "EXPOSE " + joined(words)};
}

Effect StageState::volume(const Place& place, const VolumeInstruction& volume) {
  std::vector<std::string> paths;
  for (const std::string& written : volume.paths) {
    paths.push_back(expanded(place, written));
    if (paths.back().empty()) throw error_at(place, "VOLUME: a path is empty");
  }
  for (const std::string& path : paths) config_.volumes.insert(path);
  return {{}, "VOLUME " + json_list(paths)};
}

Effect StageState::cmd(const CmdInstruction& cmd) {
  config_.cmd = command(cmd.command);
  cmd_set_ = true;
  return {{}, "CMD " + json_list(config_.cmd)};
}

Effect StageState::entrypoint(const EntrypointInstruction& entrypoint) {
  config_.entrypoint = command(entrypoint.command);
  if (!cmd_set_) config_.cmd.clear();  // an inherited CMD was meant for the inherited ENTRYPOINT
  return {{}, "ENTRYPOINT " + json_list(config_.entrypoint)};
}

Effect StageState::healthcheck(const HealthcheckInstruction& check) {
  Healthcheck health;
  if (check.none) {
    health.test = {"NONE"};
    config_.healthcheck = health;
    return {{}, "HEALTHCHECK NONE"};
  }
  if (check.command.form == CommandLine::Form::exec) {
    health.test = check.command.argv;
    health.test.insert(health.test.begin(), "CMD");
  } else {
    health.test = {"CMD-SHELL", check.command.text};
  }
  health.interval = check.interval.count();
  health.timeout = check.timeout.count();
  health.start_period = check.start_period.count();
  health.start_interval = check.start_interval.count();
  health.retries = check.retries;
  config_.healthcheck = health;
  return {{}, "HEALTHCHECK " + json_list(health.test)};
}

Effect StageState::run(const Place& place, const RunInstruction& run) {
  RunAction action;
  action.env = config_.env;
  std::string args;
  size_t count = 0;
  std::set<std::string> named;
  for (auto arg = args_.rbegin(); arg != args_.rend(); ++arg) {  // the last declaration of a name counts
    if (!named.insert(arg->first).second) continue;
    ++count;
    args = arg->first + "=" + arg->second + " " + args;
    if (!find_env(config_, arg->first)) action.env.push_back(arg->first + "=" + arg->second);
  }
  action.cwd = config_.workdir.empty() ? "/" : config_.workdir;
  action.user = config_.user;
  action.network = run.network;
  for (RunMount mount : run.mounts) {
    for (std::string* value : {&mount.target, &mount.source, &mount.id, &mount.env, &mount.mode, &mount.uid,
                               &mount.gid, &mount.size})
      *value = expanded(place, *value);
    if (!mount.target.empty()) {
      if (mount.target.front() != '/') mount.target = action.cwd + "/" + mount.target;
      mount.target = clean_path(mount.target);
      if (mount.target == "/") throw error_at(place, "RUN --mount: the target can't be '/'");
    }
    action.mounts.push_back(std::move(mount));
  }

  CommandLine line = run.command;
  std::string shown;
  if (!line.heredocs.empty()) {
    Heredoc alone = parse_heredoc_word(line.text);
    if (line.heredocs.size() == 1 && alone.name == line.heredocs[0].name) {
      std::string body = stripped_body(line.heredocs[0]);
      if (body.substr(0, 2) == "#!") {
        action.script_name = alone.name;
        action.script = body;
        if (alone.name.find('/') != std::string::npos) action.script_name = "script";
        action.argv = {std::string(script_directory) + "/" + action.script_name};
        shown = "<<" + alone.name + "\n" + body + alone.name;
      }
      line.text = body;
    } else {
      for (const Heredoc& heredoc : line.heredocs) line.text += "\n" + heredoc.body + heredoc.name;
    }
  }
  if (action.argv.empty()) action.argv = command(line);
  if (shown.empty()) shown = joined(action.argv);
  return {action, count ? fmt::format("RUN |{} {}{}", count, args, shown) : "RUN " + shown};
}

Effect StageState::copy(const Instruction& instruction, const CopyInstruction& copy) {
  const Place& place = instruction.place;
  CopyAction action{.kind = copy.kind, .sources = {}, .destination = {}};
  action.from = copy.from;
  action.chown = expanded(place, copy.chown);
  action.chmod = expanded(place, copy.chmod);
  if (!copy.chown.empty() && action.chown.empty())
    throw error_at(place, "{} --chown={}: the owner is empty", instruction.keyword, printable(copy.chown));
  if (!copy.chmod.empty() && action.chmod.empty())
    throw error_at(place, "{} --chmod={}: the mode is empty", instruction.keyword, printable(copy.chmod));
  for (const std::string& exclude : copy.excludes) action.excludes.push_back(expanded(place, exclude));
  action.link = copy.link;
  action.parents = copy.parents;
  action.unpack = copy.unpack.value_or(copy.kind == CopyInstruction::Kind::add);
  std::string text = instruction.keyword;
  if (!copy.from.empty()) text += " --from=" + copy.from;
  if (!action.chown.empty()) text += " --chown=" + action.chown;
  if (!action.chmod.empty()) text += " --chmod=" + action.chmod;
  if (copy.link) text += " --link";
  if (copy.parents) text += " --parents";
  if (copy.unpack) text += *copy.unpack ? " --unpack" : " --unpack=false";
  for (const std::string& exclude : action.excludes) text += " --exclude=" + exclude;
  for (const std::string& word : copy.sources) {
    Heredoc opened = copy.files.empty() ? Heredoc{} : parse_heredoc_word(word);
    if (!opened.name.empty()) {
      auto file = std::find_if(copy.files.begin(), copy.files.end(),
                               [&](const Heredoc& h) { return h.name == opened.name; });
      std::string body = stripped_body(*file);
      if (file->expand) {
        try {
          body = expand_body(body, [&](const std::string& name) { return lookup(name); });
        } catch (Error& error) {
          error.prefix("{}:{}: <<{}", place.file, place.line, file->name);
          throw;
        }
      }
      action.sources.push_back({file->name, std::move(body)});
      text += " <<" + file->name;
      continue;
    }
    std::string path = expanded(place, word);
    if (path.empty())
      throw error_at(place, "{}: the source '{}' is empty", instruction.keyword, printable(word));
    action.sources.push_back({path});
    text += " " + path;
  }
  std::string destination = expanded(place, copy.destination);
  if (destination.empty()) throw error_at(place, "{}: the destination is empty", instruction.keyword);
  text += " " + destination;
  bool directory = destination.back() == '/' || destination == "." || destination == ".." ||
                   (destination.size() > 2 && (destination.substr(destination.size() - 2) == "/." ||
                                               destination.substr(destination.size() - 3) == "/.."));
  if (destination.front() != '/')
    destination = (config_.workdir.empty() ? "" : config_.workdir) + "/" + destination;
  action.destination = clean_path(destination);
  if (directory && action.destination != "/") action.destination += '/';
  return {action, text};
}

}  // namespace rayctl::oci
