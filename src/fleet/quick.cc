#include "fleet/quick.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::fleet {

namespace {

bool is_public_key(std::string_view text) {
  for (std::string_view kind : {"ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"})
    if (text.starts_with(kind)) return true;
  return false;
}

bool is_github_user(const std::string& user) {
  return !user.empty() && user.size() <= 39 && std::all_of(user.begin(), user.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace

stitch::Deployment quick_deployment(const QuickWish& wish) {
  if (wish.workers == 0)
    throw UsageError("--workers: at least 1 is needed: the head itself runs no tasks by default");
  if (wish.workers > 10000)
    throw UsageError("--workers: {} is more than a cluster can have (10000)", wish.workers);
  if (wish.disk_gb == 0 || wish.disk_gb > 64000)
    throw UsageError("--disk: {} GB is no size of a disk", wish.disk_gb);
  stitch::Deployment deployment;
  deployment.name_space = wish.name_space;
  deployment.admin_acl = {"local"};
  stitch::Machine machine;
  machine.provider = wish.provider;
  machine.region = wish.region;
  machine.disk_gb = static_cast<uint32_t>(wish.disk_gb);
  machine.image = wish.machine_image;
  machine.ssh_keys = wish.ssh_keys;
  for (uint32_t id = 1; id <= wish.workers + 1; ++id) {
    bool head = id == 1;
    machine.id = id;
    machine.role = head ? stitch::master_role : stitch::worker_role;
    machine.size = head && !wish.head_size.empty() ? wish.head_size : wish.size;
    machine.spot = !head && wish.spot;
    deployment.machines.push_back(machine);
  }
  return deployment;
}

std::string read_ssh_key(const std::string& key_or_file) {
  std::string text(trim(key_or_file));
  if (is_public_key(text)) return text;
  std::string path = text;
  if (const char* home = std::getenv("HOME"); home && path.starts_with("~/"))
    path = join(home, path.substr(2));
  text = std::string(trim(read_file(path, 1 << 16)));
  if (text.find("PRIVATE KEY") != std::string::npos)
    throw UsageError("--ssh-key: '{}' is a private key, which stays here: name the public one ({}.pub)", path,
                     path);
  if (!is_public_key(text) || text.find('\n') != std::string::npos)
    throw UsageError("--ssh-key: '{}' has no public key, like 'ssh-ed25519 AAAA… name'", path);
  return text;
}

std::vector<std::string> parse_keys(std::string_view text, const std::string& user) {
  std::vector<std::string> keys;
  for (const std::string& line : split(text, '\n')) {
    std::string key(trim(line));
    if (key.empty()) continue;
    if (!is_public_key(key) || key.find(' ') == std::string::npos)
      throw Error("cannot use GitHub user '{}': the answer for their keys has a line that is none", user);
    keys.push_back(key + " " + user + "@github");
  }
  if (keys.empty())
    throw Error("cannot use GitHub user '{}': they have no ssh key there (add one, or use sshkey)", user);
  return keys;
}

void fetch_github_keys(stitch::Deployment& deployment) {
  std::map<std::string, std::vector<std::string>> known;
  for (stitch::Machine& machine : deployment.machines) {
    for (const std::string& user : machine.github_keys) {
      auto found = known.find(user);
      if (found == known.end()) {
        if (!is_github_user(user))
          throw Error("cannot use GitHub user '{}': no user can have that name", printable(user));
        const char* base = std::getenv("RAYCTL_GITHUB_URL");
        std::string url = fmt::format("{}/{}.keys", base ? base : "https://github.com", user);
        HttpResponse answer = Http().follow({.url = url, .limit = 1 << 20});
        if (answer.status == 404)
          throw Error("cannot use GitHub user '{}': there is none of that name", user);
        if (answer.status != 200)
          throw Error("cannot get the keys of GitHub user '{}': status {}", user, answer.status);
        found = known.emplace(user, parse_keys(answer.body, user)).first;
      }
      for (const std::string& key : found->second)
        if (std::find(machine.ssh_keys.begin(), machine.ssh_keys.end(), key) == machine.ssh_keys.end())
          machine.ssh_keys.push_back(key);
    }
    machine.github_keys.clear();
  }
}

std::string image_of(const stitch::Deployment& deployment) {
  for (const stitch::Container& container : deployment.containers)
    if (container.command.size() >= 2 && container.command[0] == "run" && container.command[1] == "head")
      return container.image;
  return deployment.containers.empty() ? "" : deployment.containers.front().image;
}

}  // namespace rayctl::fleet
