#include "fleet/home.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/root.h"

namespace rayctl::fleet {

namespace {

constexpr std::chrono::seconds look_patience{30};

bool word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string lock_path(const Home& home) {
  return home.owner() + ".lock";
}

std::optional<OwnerNote> read_note(const Home& home) {
  auto text = read_file_if_exists(home.owner(), 4096);
  if (!text) return std::nullopt;
  try {
    Json json = Json::parse(*text, home.owner());
    return OwnerNote{.pid = json.at("pid").integer(), .what = json.at("what").string()};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

Home home_of(const std::string& name_space) {
  bool good = !name_space.empty() && name_space.size() <= 63 && word(name_space[0]);
  for (char c : name_space) good = good && (word(c) || c == '.' || c == '_' || c == '-');
  if (!good)
    throw UsageError(
        "cannot use namespace '{}': it must be 1 to 63 letters, digits, '.', '_' or '-', a letter or digit "
        "first",
        printable(name_space));
  return {cluster::cluster_home(name_space)};
}

std::vector<std::string> known_clusters() {
  std::string directory = cluster::clusters_directory();
  std::vector<std::string> names;
  if (!exists(directory)) return names;
  for (const std::string& name : list_directory(directory))
    if (exists(Home{join(directory, name)}.machines())) names.push_back(name);
  return names;
}

std::optional<Ownership> Ownership::try_take(const Home& home, const std::string& what) {
  make_directories(home.directory, 0700);
  auto lock = FileLock::try_lock(lock_path(home), LockKind::exclusive);
  if (!lock) return std::nullopt;
  replace_file(home.owner(), nlohmann::json{{"pid", getpid()}, {"what", what}}.dump() + "\n", 0600);
  return Ownership(std::move(*lock));
}

Ownership Ownership::take(const Home& home, const std::string& name_space, const std::string& what) {
  for (auto deadline = std::chrono::steady_clock::now() + look_patience;;) {
    if (auto owned = try_take(home, what)) return std::move(*owned);
    OwnerNote note = read_note(home).value_or(OwnerNote{});
    // An owner who hasn't signed yet stands under the note of the one before.
    bool gone = note.pid <= 0 || (kill(static_cast<pid_t>(note.pid), 0) < 0 && errno == ESRCH);
    if ((note.what != look_at_it && !gone) || std::chrono::steady_clock::now() >= deadline)
      throw Error(
          "cannot change cluster '{}': process {} (rayctl {}) is doing so (wait for it, or end it: kill {})",
          name_space, note.pid, note.what.empty() ? "?" : note.what, note.pid);
    wait_interruptibly(std::chrono::milliseconds(100));
  }
}

std::optional<OwnerNote> Ownership::current(const Home& home) {
  if (!exists(lock_path(home))) return std::nullopt;
  if (FileLock::try_lock(lock_path(home), LockKind::shared)) return std::nullopt;
  return read_note(home).value_or(OwnerNote{});
}

}  // namespace rayctl::fleet
