#include "cli/image_options.h"

#include <ctime>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/reference.h"

namespace rayctl::cli {

oci::RegistryOptions RegistryFlags::options(const std::atomic<bool>* cancel) const {
  return {.ca_file = ca_file, .insecure = insecure, .auth_file = auth_file, .cancel = cancel};
}

std::vector<Argument> registry_arguments(RegistryFlags& flags) {
  return {
      option("--registry-ca", "FILE", &flags.ca_file, "trust the certificates in this PEM file too"),
      flag("--insecure", flags.insecure, "allow plain HTTP and unknown certificates"),
      option("--authfile", "FILE", &flags.auth_file,
             "read logins from here instead of docker's and podman's files"),
  };
}

std::vector<Argument> operator+(std::vector<Argument> a, const std::vector<Argument>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string store_directory(const Globals& globals) {
  return join(globals.paths.state_dir, "store");
}

oci::Store open_store(const Globals& globals) {
  return oci::Store(store_directory(globals));
}

std::string registry_name(std::string name) {
  for (std::string_view scheme : {"https://", "http://"})
    if (name.starts_with(scheme)) name.erase(0, scheme.size());
  while (!name.empty() && name.back() == '/') name.pop_back();
  if (name.empty() || name == "index.docker.io" || name == "index.docker.io/v1") return "docker.io";
  if (!oci::is_registry(name))
    throw UsageError("'{}' is not a registry: expected HOST or HOST:PORT", printable(name));
  return name;
}

std::string how_long_ago(const std::string& created) {
  tm parts{};
  const char* end = strptime(created.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (!end) return "";
  int64_t age = static_cast<int64_t>(time(nullptr)) - static_cast<int64_t>(timegm(&parts));
  struct {
    int64_t seconds;
    const char* name;
  } units[] = {{365 * 86400, "year"}, {30 * 86400, "month"}, {7 * 86400, "week"}, {86400, "day"},
               {3600, "hour"},        {60, "minute"},        {1, "second"}};
  for (const auto& unit : units)
    if (int64_t n = age / unit.seconds; n > 0)
      return fmt::format("{} {}{} ago", n, unit.name, n == 1 ? "" : "s");
  return "just now";
}

}  // namespace rayctl::cli
