#include "run/seccomp_cache.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"

namespace rayctl::run {

namespace {

constexpr int form = 2;  // of what is made of a profile: one more with every change of the compiler
constexpr size_t most_entries = 64;  // an engine has one or two profiles

// Everything that the program depends on.
std::string identity(const Spec& spec) {
  utsname machine{};
  uname(&machine);
  return fmt::format("{} {}\n{} {}\n{}\n", version(), form, machine.machine, machine.release,
                     to_json(*spec.linux_.seccomp).dump());
}

std::string name_of(std::string_view identity) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: names a file whose content is compared
  for (char c : identity) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

// Whoever could write there would choose what containers may do.
bool is_private(const std::string& directory) {
  auto info = status(directory);
  return info && S_ISDIR(info->st_mode) && info->st_uid == geteuid() && (info->st_mode & 077) == 0;
}

// The entry is the identity, the flags and the program, one after the other.
std::optional<SeccompFilter> load(const std::string& path, std::string_view identity) {
  auto bytes = read_file_if_exists(path);
  if (!bytes || !bytes->starts_with(identity)) return std::nullopt;
  std::string_view rest = std::string_view(*bytes).substr(identity.size());
  SeccompFilter filter;
  if (rest.size() <= sizeof filter.flags || (rest.size() - sizeof filter.flags) % sizeof(sock_filter) != 0)
    return std::nullopt;
  memcpy(&filter.flags, rest.data(), sizeof filter.flags);
  rest.remove_prefix(sizeof filter.flags);
  filter.program.resize(rest.size() / sizeof(sock_filter));
  memcpy(filter.program.data(), rest.data(), rest.size());
  return filter;
}

void store(const std::string& directory, const std::string& path, std::string text,
           const SeccompFilter& filter) {
  make_directories(directory, 0700);
  if (!is_private(directory)) throw Error("cannot keep filters in '{}': others may write there", directory);
  if (list_directory(directory).size() >= most_entries) {
    remove_tree(directory);
    make_directories(directory, 0700);
  }
  text.append(reinterpret_cast<const char*>(&filter.flags), sizeof filter.flags);
  text.append(reinterpret_cast<const char*>(filter.program.data()),
              filter.program.size() * sizeof(sock_filter));
  // In one step, so that nobody reads half of it; not synced: what is lost is compiled again.
  std::string temporary = fmt::format("{}.{}", path, getpid());
  {
    Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
    write_fd(fd.get(), text, temporary);
  }
  check(rename(temporary.c_str(), path.c_str()), "cannot store '{}'", path);
}

}  // namespace

SeccompFilter cached_seccomp_filter(const Spec& spec, const std::string& directory) {
  if (directory.empty() || !spec.linux_.seccomp) return seccomp_filter(spec);
  std::string wanted = identity(spec), path = join(directory, name_of(wanted));
  if (is_private(directory))
    if (auto found = load(path, wanted)) return *found;
  SeccompFilter filter = seccomp_filter(spec);
  if (filter.program.empty()) return filter;
  try {
    store(directory, path, std::move(wanted), filter);
  } catch (const std::exception& e) {
    debug("{}", e.what());
  }
  return filter;
}

}  // namespace rayctl::run
