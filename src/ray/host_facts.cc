#include "ray/host_facts.h"

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

namespace rayctl::ray {

namespace {

constexpr size_t longest_key = 2048;

// "kind base64", without the comment; empty when it is no such line.
std::string key_of(std::string_view text) {
  std::vector<std::string> words = split(trim(text), ' ');
  if (words.size() < 2 || words[0].empty() || words[1].empty()) return "";
  std::string key = words[0] + " " + words[1];
  bool plain = key.size() <= longest_key && (key.starts_with("ssh-") || key.starts_with("ecdsa-"));
  for (char c : key) plain = plain && c >= 0x20 && c < 0x7f;
  return plain ? key : "";
}

}  // namespace

HostFacts host_facts(const std::string& root) {
  HostFacts facts;
  try {
    for (const char* kind : {"ed25519", "ecdsa", "rsa"}) {
      auto text = read_file_if_exists(fmt::format("{}/etc/ssh/ssh_host_{}_key.pub", root, kind), 1 << 16);
      if (!text) continue;
      if (std::string key = key_of(*text); !key.empty()) facts.host_keys.push_back(key);
    }
    // The same rule as user-data's, which lets this user in.
    for (const std::string& line :
         split(read_file_if_exists(root + "/etc/passwd", 4 << 20).value_or(""), '\n')) {
      std::vector<std::string> fields = split(line, ':');
      if (fields.size() < 7 || fields[2].empty() || fields[2].size() > 9) continue;
      if (fields[2].find_first_not_of("0123456789") != std::string::npos) continue;
      unsigned long id = std::stoul(fields[2]);
      if (id != 500 && (id < 1000 || id >= 60000)) continue;
      facts.user = fields[0].substr(0, 64);
      break;
    }
    for (const char* file : {"/run/cloud-init/.instance-id", "/var/lib/cloud/data/instance-id"}) {
      std::string id(trim(read_file_if_exists(root + file, 4096).value_or("")));
      if (id.empty() || id.size() > 128 || printable(id) != id) continue;
      facts.instance = id;
      break;
    }
  } catch (const Error& e) {
    debug("facts of this machine: {}", e.message());
  }
  return facts;
}

}  // namespace rayctl::ray
