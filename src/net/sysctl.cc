#include "net/sysctl.h"

#include <fcntl.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

std::string path_of(const std::string& key) {
  return "/proc/sys/net/" + key;
}

}  // namespace

std::optional<std::string> sysctl(const std::string& key) {
  auto text = read_file_if_exists(path_of(key), 4096);
  if (!text) return std::nullopt;
  return std::string(trim(*text));
}

bool set_sysctl(const std::string& key, const std::string& value) {
  if (sysctl(key) == value) return false;
  try {
    write_existing(path_of(key), value);
  } catch (SysError& error) {
    if (error.code() == EROFS) error.hint("/proc/sys is mounted read-only; set net/{} = {}", key, value);
    throw;
  }
  return true;
}

bool set_sysctl_if_exists(const std::string& key, const std::string& value) {
  auto found = sysctl(key);
  if (!found || found == value) return false;
  try {
    return set_sysctl(key, value);
  } catch (const SysError& error) {
    if (error.code() != EROFS) throw;
    return false;
  }
}

}  // namespace rayctl::net
