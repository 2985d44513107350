#include "run/mount_options.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/log.h"

namespace rayctl::run {

namespace {

struct Attribute {
  const char* name;
  uint64_t set, clear;
};

// The access time options are one field of the attribute word: setting one clears the field.
constexpr Attribute attributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", 0, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

struct Propagation {
  const char* name;
  uint64_t value;
};

constexpr Propagation propagations[] = {
    {"private", MS_PRIVATE}, {"shared", MS_SHARED}, {"slave", MS_SLAVE}, {"unbindable", MS_UNBINDABLE}};

// Flags of the superblock that fsconfig knows by name.
constexpr const char* superblock_flags[] = {"sync", "dirsync", "lazytime", "mand", "silent", "iversion"};
// Their opposites, which are the default.
constexpr const char* no_operation[] = {"defaults",   "async",      "nomand", "loud",
                                        "nolazytime", "noiversion", "acl",    "noacl"};

void apply(uint64_t& set, uint64_t& clear, const Attribute& attribute) {
  uint64_t field = attribute.set | attribute.clear;
  set = (set & ~field) | attribute.set;
  clear = (clear & ~attribute.set) | attribute.clear;
}

bool apply_attribute(MountOptions& options, std::string_view name) {
  for (const Attribute& a : attributes) {
    if (name == a.name) {
      apply(options.set, options.clear, a);
      return true;
    }
    if (name.size() > 1 && name[0] == 'r' && name.substr(1) == a.name) {
      apply(options.recursive_set, options.recursive_clear, a);
      return true;
    }
  }
  for (const Propagation& p : propagations) {
    bool recursive = name.size() > 1 && name[0] == 'r' && name.substr(1) == p.name;
    if (name != p.name && !recursive) continue;
    options.propagation = p.value;
    options.recursive_propagation = recursive;
    return true;
  }
  return false;
}

template <size_t N>
bool listed(const char* const (&list)[N], const std::string& name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

}  // namespace

MountOptions parse_mount_options(const Mount& mount) {
  MountOptions options;
  auto refuse = [&](const std::string& option, std::string_view reason) {
    throw Error("cannot mount '{}': option '{}': {}", mount.destination, option, reason);
  };
  options.bind = mount.type == "bind";
  for (const std::string& option : mount.options) {
    if (option.empty()) continue;
    if (option == "bind" || option == "rbind") {
      options.bind = true;
      options.recursive = options.recursive || option == "rbind";
    } else if (option == "remount") {
      options.remount = true;
    } else if (option == "tmpcopyup") {
      if (mount.type != "tmpfs") refuse(option, "only a tmpfs can have it");
      options.copy_up = true;
    } else if (option == "idmap" || option == "ridmap" || option.starts_with("idmap=") ||
               option.starts_with("ridmap=")) {
      refuse(option, "id-mapped mounts are not supported");
    } else if (apply_attribute(options, option) || listed(no_operation, option)) {
      continue;
    } else if (listed(superblock_flags, option)) {
      options.data.emplace_back(option, std::nullopt);
    } else if (size_t equals = option.find('='); equals != std::string::npos) {
      options.data.emplace_back(option.substr(0, equals), option.substr(equals + 1));
    } else {
      options.data.emplace_back(option, std::nullopt);
    }
  }
  if (options.bind) {
    // A bind mount shares its file system's options: mount(2) ignores what else is there, and so do others.
    for (const auto& [key, value] : options.data)
      if (!listed(superblock_flags, key))
        warn("mount '{}': option '{}' has no effect on a bind mount", mount.destination,
             value ? key + "=" + *value : key);
    options.data.clear();
  }
  return options;
}

std::vector<std::string> known_mount_options() {
  std::vector<std::string> names{"bind", "rbind", "remount", "tmpcopyup"};
  for (const Attribute& a : attributes) {
    names.emplace_back(a.name);
    names.push_back(std::string("r") + a.name);
  }
  for (const Propagation& p : propagations) {
    names.emplace_back(p.name);
    names.push_back(std::string("r") + p.name);
  }
  names.insert(names.end(), std::begin(superblock_flags), std::end(superblock_flags));
  names.insert(names.end(), std::begin(no_operation), std::end(no_operation));
  std::sort(names.begin(), names.end());
  return names;
}

std::string describe_attributes(uint64_t bits) {
  std::string text;
  for (const char* name :
       {"ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime", "noatime", "strictatime"}) {
    auto a = std::find_if(std::begin(attributes), std::end(attributes), [&](const Attribute& candidate) {
      return std::string_view(candidate.name) == name;
    });
    if (a->set == 0 || (bits & a->set) != a->set) continue;
    if (!text.empty()) text += ',';
    text += name;
  }
  return text;
}

}  // namespace rayctl::run
