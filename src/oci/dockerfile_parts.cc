#include "oci/dockerfile_parts.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include "base/text.h"
#include "oci/dockerfile_words.h"

namespace rayctl::oci {

namespace {

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

bool to_boolean(const std::string& value, const Place& place, std::string_view key) {
  if (value == "true" || value == "1" || value.empty()) return true;
  if (value == "false" || value == "0") return false;
  throw error_at(place, "RUN --mount: {} is true or false, not '{}'", key, printable(value));
}

// The keys that a kind of mount has, for "unknown key" errors.
const std::set<std::string>& mount_keys(const std::string& type, const Place& place) {
  static const std::set<std::string> bind = {"target", "source", "from", "readonly"};
  static const std::set<std::string> cache = {"target",  "source", "from", "readonly", "id",
                                              "sharing", "mode",   "uid",  "gid"};
  static const std::set<std::string> tmpfs = {"target", "size"};
  static const std::set<std::string> secret = {"target", "id", "env", "required", "mode", "uid", "gid"};
  static const std::set<std::string> ssh = {"target", "id", "required", "mode", "uid", "gid"};
  if (type == "bind") return bind;
  if (type == "cache") return cache;
  if (type == "tmpfs") return tmpfs;
  if (type == "secret") return secret;
  if (type == "ssh") return ssh;
  throw error_at(place, "RUN --mount: unknown type '{}'", printable(type));
}

std::string mount_key(std::string key) {
  if (key == "dst" || key == "destination") return "target";
  if (key == "src") return "source";
  if (key == "ro" || key == "readwrite" || key == "rw") return "readonly";
  return key;
}

}  // namespace

RunMount parse_mount(const std::string& value, const Place& place) {
  RunMount mount;
  std::vector<std::string> fields = split(value, ',');
  for (const std::string& field : fields)
    if (field.rfind("type=", 0) == 0) mount.type = field.substr(5);
  const std::set<std::string>& known = mount_keys(mount.type, place);
  for (const std::string& field : fields) {
    size_t equals = field.find('=');
    std::string written = field.substr(0, equals), key = mount_key(written);
    std::string word = equals == std::string::npos ? "" : field.substr(equals + 1);
    if (key == "type") continue;
    if (!known.contains(key))
      throw error_at(place, "RUN --mount=type={} has no key '{}'", mount.type, printable(written));
    if (key == "readonly") {
      bool on = to_boolean(word, place, written);
      mount.readonly = written == "rw" || written == "readwrite" ? !on : on;
      continue;
    }
    if (key == "required") {
      mount.required = to_boolean(word, place, written);
      continue;
    }
    if (word.empty() && key == "from") continue;  // as COPY's: the context
    if (word.empty()) throw error_at(place, "RUN --mount: '{}' needs a value", printable(written));
    std::string* target = key == "target"    ? &mount.target
                          : key == "source"  ? &mount.source
                          : key == "from"    ? &mount.from
                          : key == "id"      ? &mount.id
                          : key == "env"     ? &mount.env
                          : key == "sharing" ? &mount.sharing
                          : key == "mode"    ? &mount.mode
                          : key == "uid"     ? &mount.uid
                          : key == "gid"     ? &mount.gid
                                             : &mount.size;
    *target = word;
  }
  if (mount.target.empty() && mount.type != "secret" && mount.type != "ssh")
    throw error_at(place, "RUN --mount=type={} needs target=", mount.type);
  if (mount.type == "secret" && mount.id.empty() && mount.target.empty())
    throw error_at(place, "RUN --mount=type=secret needs id= or target=");
  if (!mount.from.empty() && mount.from.find('$') != std::string::npos)
    throw error_at(place, "RUN --mount: from='{}' can't hold a variable: name a stage with FROM … AS",
                   printable(mount.from));
  if (!mount.sharing.empty() && mount.sharing != "shared" && mount.sharing != "private" &&
      mount.sharing != "locked")
    throw error_at(place, "RUN --mount: sharing is shared, private or locked, not '{}'",
                   printable(mount.sharing));
  return mount;
}

RunInstruction parse_run(const RawInstruction& raw, const Place& place) {
  Flags flags(raw, place);
  RunInstruction run;
  for (const std::string& value : flags.texts("mount")) run.mounts.push_back(parse_mount(value, place));
  run.network = flags.text("network").value_or("default");
  run.security = flags.text("security").value_or("sandbox");
  run.devices = flags.texts("device");
  flags.finish();
  if (run.network != "default" && run.network != "none" && run.network != "host")
    throw error_at(place, "RUN --network is default, none or host, not '{}'", printable(run.network));
  if (run.security != "sandbox" && run.security != "insecure")
    throw error_at(place, "RUN --security is sandbox or insecure, not '{}'", printable(run.security));
  if (raw.text.empty()) throw error_at(place, "RUN needs a command");
  run.command.heredocs = raw.heredocs;
  auto words = raw.heredocs.empty() ? json_words(raw.text, place) : std::nullopt;
  if (words) {
    if (words->empty()) throw error_at(place, "RUN [] has no command");
    run.command.form = CommandLine::Form::exec;
    run.command.argv = std::move(*words);
  } else {
    run.command.text = raw.text;
  }
  return run;
}

CopyInstruction parse_copy(const RawInstruction& raw, const Place& place) {
  Flags flags(raw, place);
  CopyInstruction copy;
  copy.kind = raw.keyword == "ADD" ? CopyInstruction::Kind::add : CopyInstruction::Kind::copy;
  copy.chown = flags.text("chown").value_or("");
  copy.chmod = flags.text("chmod").value_or("");
  copy.link = flags.boolean("link").value_or(false);
  copy.excludes = flags.texts("exclude");
  if (copy.kind == CopyInstruction::Kind::copy) {
    copy.from = flags.text("from").value_or("");
    copy.parents = flags.boolean("parents").value_or(false);
  } else {
    copy.checksum = flags.text("checksum").value_or("");
    copy.keep_git_dir = flags.boolean("keep-git-dir").value_or(false);
    copy.unpack = flags.boolean("unpack");
  }
  flags.finish();
  auto words = json_words(raw.text, place);
  copy.sources = words ? std::move(*words) : split_blanks(raw.text);
  if (copy.sources.size() < 2)
    throw error_at(place, "{} needs at least one source and a destination", raw.keyword);
  copy.destination = std::move(copy.sources.back());
  copy.sources.pop_back();
  for (const std::string& word : copy.sources)
    if (word.empty()) throw error_at(place, "{}: a source is empty", raw.keyword);
  if (copy.destination.empty()) throw error_at(place, "{}: the destination is empty", raw.keyword);
  if (!raw.heredocs.empty() && !parse_heredoc_word(copy.destination).name.empty())
    throw error_at(place, "{}: a heredoc can't be the destination", raw.keyword);
  copy.files = raw.heredocs;
  for (const Heredoc& file : copy.files)
    if (file.name.find('/') != std::string::npos)
      throw error_at(place, "{}: the heredoc name '{}' is the name of a file: it can't have a '/'",
                     raw.keyword, printable(file.name));
  if (!copy.files.empty() && !copy.from.empty() && copy.files.size() == copy.sources.size())
    throw error_at(place, "COPY --from={} takes no heredoc", printable(copy.from));
  return copy;
}

std::chrono::nanoseconds parse_go_duration(const std::string& text, const Place& place,
                                           std::string_view flag) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  static constexpr Unit units[] = {{"ns", 1},  {"us", 1e3}, {"µs", 1e3},  {"ms", 1e6},
                                   {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  auto fail = [&]() -> Error {
    return error_at(place, "HEALTHCHECK --{}: '{}' is no duration such as 1m30s", flag, printable(text));
  };
  if (text == "0") return {};
  std::string_view rest = text;
  double total = 0;
  if (rest.empty()) throw fail();
  while (!rest.empty()) {
    double number = 0;
    auto [end, code] =
        std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (code != std::errc() || number < 0) throw fail();
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    const Unit* best = nullptr;
    for (const Unit& unit : units)
      if (rest.substr(0, unit.name.size()) == unit.name && (!best || unit.name.size() > best->name.size()))
        best = &unit;
    if (!best) throw fail();
    total += number * best->nanoseconds;
    rest.remove_prefix(best->name.size());
    if (!(total < 9e18)) throw fail();
  }
  if (total > 0 && total < 1e6)
    throw error_at(place, "HEALTHCHECK --{}: '{}' is less than 1ms", flag, printable(text));
  return std::chrono::nanoseconds(static_cast<int64_t>(total));
}

HealthcheckInstruction parse_healthcheck(const RawInstruction& raw, const Place& place) {
  HealthcheckInstruction check;
  size_t end = raw.text.find_first_of(" \t");
  std::string kind = upper(raw.text.substr(0, end));
  std::string rest = end == std::string::npos ? "" : std::string(trim(raw.text.substr(end)));
  Flags flags(raw, place);
  if (kind == "NONE") {
    if (!rest.empty() || !raw.flags.empty()) throw error_at(place, "HEALTHCHECK NONE stands alone");
    check.none = true;
    return check;
  }
  auto duration = [&](std::string_view name) {
    auto value = flags.text(name);
    return value ? parse_go_duration(*value, place, name) : std::chrono::nanoseconds{};
  };
  check.interval = duration("interval");
  check.timeout = duration("timeout");
  check.start_period = duration("start-period");
  check.start_interval = duration("start-interval");
  if (auto value = flags.text("retries")) {
    auto [last, code] = std::from_chars(value->data(), value->data() + value->size(), check.retries);
    if (code != std::errc() || last != value->data() + value->size() || check.retries < 0 ||
        check.retries > INT32_MAX)
      throw error_at(place, "HEALTHCHECK --retries: '{}' is no number from 0 on", printable(*value));
  }
  flags.finish();
  if (kind != "CMD") throw error_at(place, "HEALTHCHECK is CMD or NONE, not '{}'", printable(kind));
  if (rest.empty()) throw error_at(place, "HEALTHCHECK CMD needs a command");
  if (auto words = json_words(rest, place)) {
    if (words->empty()) throw error_at(place, "HEALTHCHECK CMD [] has no command");
    check.command.form = CommandLine::Form::exec;
    check.command.argv = std::move(*words);
  } else {
    check.command.text = rest;
  }
  return check;
}

}  // namespace rayctl::oci
