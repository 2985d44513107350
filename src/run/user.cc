#include "run/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

namespace {

constexpr size_t max_file = 4 << 20;

// A string of digits is a number and nothing else is: "1000x" must not become 1000 (CVE-2016-3697),
// 4294967296 not 0 (CVE-2024-40635). 2^32-1 means "no change" to the kernel.
std::optional<uint32_t> parse_id(std::string_view text, std::string_view whole) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
    throw Error("cannot use user '{}': {} is more than 4294967294", whole, text);
  return value;
}

std::optional<uint32_t> id_field(std::string_view text) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
    return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  for (;;) {
    size_t at = line.find(separator);
    fields.push_back(line.substr(0, at));
    if (at == std::string_view::npos) return fields;
    line.remove_prefix(at + 1);
  }
}

struct PasswdEntry {
  std::string_view name, home;
  uint32_t uid, gid;
};

struct GroupEntry {
  std::string_view name;
  uint32_t gid;
  std::vector<std::string_view> members;
};

template <class F>
void each_line(std::string_view text, F&& f) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line[0] != '#' && line.find('\0') == std::string_view::npos) f(line);
  }
}

template <class F>
std::optional<PasswdEntry> find_user(std::string_view passwd, F&& wanted) {
  std::optional<PasswdEntry> found;
  each_line(passwd, [&](std::string_view line) {
    if (found) return;
    auto fields = split(line, ':');
    if (fields.size() < 6 || fields[0].empty()) return;
    auto uid = id_field(fields[2]), gid = id_field(fields[3]);
    if (!uid || !gid) return;
    PasswdEntry entry{fields[0], fields[5], *uid, *gid};
    if (wanted(entry)) found = entry;
  });
  return found;
}

template <class F>
void each_group(std::string_view group, F&& f) {
  each_line(group, [&](std::string_view line) {
    auto fields = split(line, ':');
    if (fields.size() < 4 || fields[0].empty()) return;
    if (auto gid = id_field(fields[2])) f(GroupEntry{fields[0], *gid, split(fields[3], ',')});
  });
}

uint32_t resolve_group(std::string_view name, std::string_view group, std::string_view whole) {
  if (auto gid = parse_id(name, whole)) return *gid;
  std::optional<uint32_t> found;
  each_group(group, [&](const GroupEntry& entry) {
    if (!found && entry.name == name) found = entry.gid;
  });
  if (!found) throw Error("cannot use user '{}': the image's /etc/group has no group '{}'", whole, name);
  return *found;
}

std::string read_beneath(int root, const char* path) {
  Fd fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK);
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    throw SysError(errno, "cannot open the image's '{}'", path);
  }
  struct stat info;
  check(fstat(fd.get(), &info), "cannot stat the image's '{}'", path);
  if (!S_ISREG(info.st_mode)) throw Error("cannot read the image's '{}': it is no regular file", path);
  return read_fd(fd.get(), path, max_file);
}

}  // namespace

ResolvedUser resolve_user(std::string_view user, std::string_view passwd, std::string_view group) {
  size_t colon = user.find(':');
  std::string_view name = user.substr(0, colon);
  std::optional<std::string_view> group_name;
  if (colon != std::string_view::npos) group_name = user.substr(colon + 1);
  if (group_name && group_name->empty()) throw Error("cannot use user '{}': the group is empty", user);

  ResolvedUser found;
  std::optional<PasswdEntry> entry;
  if (name.empty()) name = "0";
  if (auto uid = parse_id(name, user)) {
    found.uid = *uid;
    entry = find_user(passwd, [&](const PasswdEntry& e) { return e.uid == *uid; });
  } else {
    entry = find_user(passwd, [&](const PasswdEntry& e) { return e.name == name; });
    if (!entry) throw Error("cannot use user '{}': the image's /etc/passwd has no user '{}'", user, name);
    found.uid = entry->uid;
  }
  if (entry) {
    found.gid = entry->gid;
    found.name = entry->name;
    if (!entry->home.empty()) found.home = entry->home;
  }
  if (group_name) {
    found.gid = resolve_group(*group_name, group, user);
    return found;
  }
  if (!entry) return found;
  each_group(group, [&](const GroupEntry& e) {
    bool member = std::find(e.members.begin(), e.members.end(), entry->name) != e.members.end();
    auto& gids = found.additional_gids;
    if (member && e.gid != found.gid && std::find(gids.begin(), gids.end(), e.gid) == gids.end())
      gids.push_back(e.gid);
  });
  return found;
}

ResolvedUser resolve_user_in_root(std::string_view user, int root) {
  return resolve_user(user, read_beneath(root, "/etc/passwd"), read_beneath(root, "/etc/group"));
}

ResolvedUser resolve_user_in_layers(std::string_view user, const std::vector<std::string>& lowerdirs) {
  auto topmost = [&](const char* path) -> std::string {
    for (auto layer = lowerdirs.rbegin(); layer != lowerdirs.rend(); ++layer) {
      Fd root = open_directory(*layer);
      Fd fd = open_in_root(root.get(), path, O_PATH);
      if (!fd) continue;
      struct stat info;
      check(fstat(fd.get(), &info), "cannot stat the image's '{}'", path);
      if (S_ISCHR(info.st_mode)) return {};  // a whiteout: deleted in this layer
      return read_beneath(root.get(), path);
    }
    return {};
  };
  return resolve_user(user, topmost("/etc/passwd"), topmost("/etc/group"));
}

}  // namespace rayctl::run
