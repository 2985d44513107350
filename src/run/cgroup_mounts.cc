#include "run/cgroup_mounts.h"

#include <sys/mount.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::run {

namespace {

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Own {
  std::vector<std::string> controllers;  // empty for v2
  std::string path;
};

std::vector<Own> parse_own(std::string_view text) {
  std::vector<Own> found;
  for (const std::string& line : split(text, '\n')) {
    size_t first = line.find(':');
    if (first == std::string::npos) continue;
    size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string names = line.substr(first + 1, second - first - 1);
    found.push_back(
        {names.empty() ? std::vector<std::string>{} : split(names, ','), line.substr(second + 1)});
  }
  return found;
}

bool contains(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

bool Hierarchy::has(std::string_view controller) const {
  return contains(controllers, controller);
}

std::string Hierarchy::directory(std::string_view path) const {
  if (root != "/" && path.substr(0, root.size()) == root &&
      (path.size() == root.size() || path[root.size()] == '/'))
    path.remove_prefix(root.size());
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  return path.empty() ? mount : join(mount, path);
}

const Hierarchy* CgroupMounts::find(std::string_view controller) const {
  for (const Hierarchy& h : hierarchies)
    if (h.has(controller)) return &h;
  return nullptr;
}

const Hierarchy* CgroupMounts::unified() const {
  for (const Hierarchy& h : hierarchies)
    if (h.version == Hierarchy::Version::v2) return &h;
  return nullptr;
}

bool CgroupMounts::legacy() const {
  const Hierarchy* memory = find("memory");
  return memory ? memory->version == Hierarchy::Version::v1 : unified() == nullptr;
}

std::vector<std::string> CgroupMounts::legacy_controllers() const {
  std::vector<std::string> found;
  for (const Hierarchy& h : hierarchies)
    if (h.version == Hierarchy::Version::v1)
      for (const std::string& name : h.controllers)
        if (name.rfind("name=", 0) != 0) found.push_back(name);
  return found;
}

CgroupMounts parse_cgroup_mounts(std::string_view mountinfo, std::string_view own) {
  std::vector<Own> ours = parse_own(own);
  CgroupMounts found;
  for (const std::string& line : split(mountinfo, '\n')) {
    std::vector<std::string> words = split(line, ' ');
    auto dash = std::find(words.begin(), words.end(), "-");
    // id parent device root mount-point options [tags…] - type source super-options
    if (dash - words.begin() < 6 || words.end() - dash < 4) continue;
    const std::string& type = dash[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    Hierarchy h{.version = type == "cgroup2" ? Hierarchy::Version::v2 : Hierarchy::Version::v1,
                .mount = unescape(words[4]),
                .root = unescape(words[3])};
    const Own* match = nullptr;
    for (const Own& candidate : ours) {
      if (h.version == Hierarchy::Version::v2
              ? candidate.controllers.empty()
              : !candidate.controllers.empty() && contains(split(dash[3], ','), candidate.controllers[0]))
        match = &candidate;
    }
    if (!match) continue;
    h.own = match->path;
    h.controllers = match->controllers;
    auto same = std::find_if(found.hierarchies.begin(), found.hierarchies.end(), [&](const Hierarchy& o) {
      return o.version == h.version && o.controllers == h.controllers;
    });
    if (same == found.hierarchies.end())
      found.hierarchies.push_back(std::move(h));
    else if (h.root.size() < same->root.size())
      *same = std::move(h);
  }
  return found;
}

namespace {

// `ip netns exec` gives its program a fresh /sys without control groups: they are mounted there again as PID
// 1 has them.
void mount_as_init_has_them() {
  std::optional<std::string> mountinfo = read_file_if_exists("/proc/1/mountinfo");
  if (!mountinfo) return;
  constexpr unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  for (const std::string& line : split(*mountinfo, '\n')) {
    std::vector<std::string> words = split(line, ' ');
    auto dash = std::find(words.begin(), words.end(), "-");
    if (dash - words.begin() < 6 || words.end() - dash < 4) continue;
    std::string point = unescape(words[4]), type = dash[1], options = dash[3];
    bool group = (type == "cgroup" || type == "cgroup2") && words[3] == "/";
    if (!group && !(type == "tmpfs" && point == "/sys/fs/cgroup")) continue;
    // The file system's options begin with rw or ro, which are a mount's here.
    options = options.size() > 3 ? options.substr(3) : "";
    if (type == "cgroup2") options.clear();
    if (!exists(point)) make_directories(point);
    if (mount(type.c_str(), point.c_str(), type.c_str(), flags, options.c_str()) < 0)
      throw SysError(errno, "cannot mount control groups at '{}'", point);
  }
}

}  // namespace

CgroupMounts observe_cgroup_mounts() {
  std::string own = read_file("/proc/self/cgroup");
  CgroupMounts found = parse_cgroup_mounts(read_file("/proc/self/mountinfo"), own);
  if (found.hierarchies.empty()) {
    mount_as_init_has_them();
    found = parse_cgroup_mounts(read_file("/proc/self/mountinfo"), own);
  }
  for (Hierarchy& h : found.hierarchies) {
    if (h.version != Hierarchy::Version::v2) continue;
    for (std::string& name : split(trim(read_file(join(h.mount, "cgroup.controllers"))), ' '))
      if (!name.empty()) h.controllers.push_back(std::move(name));
  }
  if (found.hierarchies.empty())
    throw Error("cannot find a control group hierarchy: none is mounted (mount cgroup2 at /sys/fs/cgroup)");
  return found;
}

}  // namespace rayctl::run
