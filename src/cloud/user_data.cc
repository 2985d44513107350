#include "cloud/user_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/units.h"

namespace rayctl::cloud {

namespace {

using nlohmann::ordered_json;

constexpr std::string_view prepare_path = "/etc/rayctl/prepare";
constexpr std::string_view end_of_text = "E";                    // of a here-document
constexpr std::string_view ignition_binary = "/opt/bin/rayctl";  // Flatcar's /usr can't be written
constexpr const char* ignition_version = "3.3.0";
constexpr const char* ignition_user = "core";

// --- what comes from outside ---

bool is_of(std::string_view text, std::string_view extra) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           extra.find(c) != std::string_view::npos;
  });
}

void check_binary(const BinarySource& binary) {
  if (binary.sha256.size() != 64 || !is_of(binary.sha256, "") ||
      binary.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw UsageError("sha256: '{}' isn't a SHA-256 of 64 lower-case hex digits", printable(binary.sha256));
  if (binary.urls.empty()) throw UsageError("binary: no URL says where the machine fetches rayctl");
  for (const std::string& url : binary.urls) {
    parse_url(url);
    // It stands within single quotes in a script.
    if (!is_of(url, "-._~:/?#[]@!$&()*+,;=%"))
      throw UsageError("binary: '{}' has a character that a URL can't have: write it as %XX", printable(url));
  }
}

void check_line(std::string_view field, const std::string& text, size_t limit) {
  if (text.size() > limit) throw UsageError("{}: longer than {} characters", field, limit);
  if (text.empty() || trim(text) != text ||
      std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }))
    throw UsageError("{}: '{}' isn't one line of plain ASCII", field, printable(text));
}

void check_ssh_key(const std::string& key) {
  check_line("ssh key", key, 8192);
  static const std::vector<std::string> kinds = {"ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"};
  bool known =
      std::any_of(kinds.begin(), kinds.end(), [&](const std::string& k) { return key.starts_with(k); });
  if (!known || key.find(' ') == std::string::npos)
    throw UsageError("ssh key: '{}' isn't a public key, like 'ssh-ed25519 AAAA… name'", printable(key));
}

// The configuration as it is written: one line, the token's place added.
std::string config_text(const UserData& data) {
  Json parsed = Json::parse(data.node_config, "node configuration");
  std::string role = parsed.at("role").string();
  if (role != "head" && role != "worker")
    throw UsageError("node configuration.role: '{}' is neither head nor worker", printable(role));
  nlohmann::json config = parsed.raw();
  if (!data.token.empty()) config[role == "head" ? "claim-token-file" : "token-file"] = token_path;
  return config.dump() + "\n";
}

// --- the script that runs before the containers' unit ---

constexpr std::string_view script_begin = R"sh(#!/bin/sh
# Fetches rayctl unless that was done and it runs; lets the login user in.
set -e
get() {
  rm -f $b.new
  curl -fsSL --connect-timeout 9 -y 30 -o $b.new "$1" || wget -qT 30 -O $b.new "$1" ||
    python3 -c 'import sys,urllib.request as u;u.urlretrieve(*sys.argv[1:])' "$1" $b.new
  [ "$(sha256sum <$b.new)" = "$s  -" ]
}
)sh";

constexpr std::string_view script_end =
    R"sh(    echo "cannot fetch rayctl with sha256 $s: trying again"; sleep 5
  done
  chmod 755 $b.new; mv $b.new $b; restorecon -F $b 2>/dev/null || :
  echo $s >/etc/rayctl/binary; sync
fi
getent group rayctl >/dev/null || groupadd -r rayctl
u=$(awk -F: '$3==500||$3>999&&$3<60000{print $1;exit}' /etc/passwd)
[ -z "$u" ] || usermod -aG rayctl $u || :
)sh";

// As that user: nothing of root's is written where a link of the user's points to.
constexpr std::string_view script_keys =
    R"sh([ -z "$u" ] || runuser $u -s /bin/sh -c 'umask 77; mkdir -p ~/.ssh; f=~/.ssh/authorized_keys; touch $f
while read -r k; do grep -qxF "$k" $f || echo "$k" >>$f; done' </etc/rayctl/ssh_keys || :
)sh";

std::string prepare_text(const UserData& data, std::string_view binary) {
  std::string text(script_begin);
  text += fmt::format("b={} s={}\n", binary, data.binary.sha256);
  text += "mkdir -p ${b%/*}\n";
  text +=
      "if [ \"$(cat /etc/rayctl/binary 2>/dev/null)\" != $s ] || ! $b version >/dev/null 2>&1; then\n  "
      "until ";
  for (const std::string& url : data.binary.urls)
    text += fmt::format("{}get '{}'", &url == &data.binary.urls.front() ? "" : " || ", url);
  text += "; do\n";
  text += script_end;
  if (!data.ssh_keys.empty()) text += script_keys;
  return text;
}

std::string in_config_directory(std::string_view name) {
  return fmt::format("{}/{}", config_directory, name);
}

// --- formats ---

std::string boothook_text(const std::vector<NodeFile>& files) {
  std::string text = R"(#cloud-boothook
#!/bin/sh
# rayctl: runs early in every boot, and puts right what isn't
umask 77
mkdir -p /etc/rayctl
put() { cat >$1.new && chmod $2 $1.new && mv $1.new $1; }
)";
  for (const NodeFile& file : files) {
    if (file.write == NodeFile::Write::until_member) text += "[ -e /var/lib/rayctl/cluster/node.crt ] || ";
    text +=
        fmt::format("put {} {:o} <<'{}'\n{}{}\n", file.path, file.mode, end_of_text, file.text, end_of_text);
  }
  text += fmt::format("systemctl --no-block enable --now {}\n", node_unit);
  return text;
}

std::string cloud_config_text(const std::vector<NodeFile>& files) {
  std::string text = "#cloud-config\n# rayctl\nwrite_files:\n";
  for (const NodeFile& file : files) {
    text += fmt::format("- path: {}\n  permissions: '{:04o}'\n  content: |\n", file.path, file.mode);
    for (const std::string& line : split(std::string_view(file.text).substr(0, file.text.size() - 1), '\n'))
      text += line.empty() ? "\n" : "    " + line + "\n";
  }
  text += fmt::format("runcmd:\n- [systemctl, --no-block, enable, --now, {}]\n", node_unit);
  return text;
}

std::string ignition_text(const std::vector<NodeFile>& files, const std::vector<std::string>& keys) {
  ordered_json document;
  document["ignition"]["version"] = ignition_version;
  document["passwd"]["groups"] = {{{"name", "rayctl"}, {"system", true}}};
  ordered_json user = {{"name", ignition_user}, {"groups", {"rayctl"}}};
  if (!keys.empty()) user["sshAuthorizedKeys"] = keys;
  document["passwd"]["users"] = {user};
  ordered_json written = ordered_json::array(), units = ordered_json::array();
  for (const NodeFile& file : files) {
    if (std::string_view path = file.path; path.starts_with(unit_directory)) {
      ordered_json unit = {{"name", path.substr(unit_directory.size() + 1)}, {"contents", file.text}};
      if (path.ends_with(node_unit)) unit["enabled"] = true;
      units.push_back(unit);
      continue;
    }
    written.push_back({{"path", file.path},
                       {"mode", file.mode},  // in JSON it is decimal
                       {"overwrite", true},
                       {"contents", {{"source", "data:," + percent_encode(file.text)}}}});
  }
  document["storage"]["files"] = written;
  document["systemd"]["units"] = units;
  return document.dump(1) + "\n";
}

bool same(const std::vector<NodeFile>& a, const std::vector<NodeFile>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const NodeFile& x, const NodeFile& y) {
    return x.path == y.path && x.mode == y.mode && x.text == y.text;
  });
}

}  // namespace

std::vector<std::string> user_data_formats() {
  return {"boothook", "cloud-config", "ignition"};
}

UserDataFormat user_data_format(const std::string& name) {
  std::vector<std::string> names = user_data_formats();
  auto it = std::find(names.begin(), names.end(), name);
  if (it == names.end())
    throw UsageError("--format: '{}' isn't one of boothook, cloud-config, ignition", printable(name));
  return static_cast<UserDataFormat>(it - names.begin());
}

std::string binary_of_head(const std::string& address, unsigned port) {
  bool v6 = address.find(':') != std::string::npos && !address.starts_with('[');
  return fmt::format("http://{}:{}/rayctl", v6 ? "[" + address + "]" : address, port);
}

std::vector<NodeFile> node_files(const UserData& data, UserDataFormat format) {
  check_binary(data.binary);
  for (const std::string& key : data.ssh_keys) check_ssh_key(key);
  if (!data.token.empty()) {
    check_line("token", data.token, 1024);
    if (!is_of(data.token, "._-")) throw UsageError("token: it has a character that no token has");
  }
  bool ignition = format == UserDataFormat::ignition;
  std::string_view binary = ignition ? ignition_binary : default_binary;

  std::vector<NodeFile> files;
  files.push_back({in_config_directory("node.json"), 0600, config_text(data)});
  if (!data.token.empty())
    files.push_back({std::string(token_path), 0600, data.token + "\n", NodeFile::Write::until_member});
  if (!data.ssh_keys.empty() && !ignition) {  // Ignition has a place for them
    std::string keys;
    for (const std::string& key : data.ssh_keys) keys += key + "\n";
    files.push_back({in_config_directory("ssh_keys"), 0644, keys});
  }
  UserData script = data;
  if (ignition) script.ssh_keys.clear();
  files.push_back({std::string(prepare_path), 0700, prepare_text(script, binary)});
  for (Unit& unit : node_units(binary, prepare_path))
    files.push_back({fmt::format("{}/{}", unit_directory, unit.name), 0644, std::move(unit.text)});
  return files;
}

std::string user_data(const UserData& data, UserDataFormat format) {
  std::vector<NodeFile> files = node_files(data, format);
  std::string text;
  switch (format) {
    case UserDataFormat::boothook:
      text = boothook_text(files);
      break;
    case UserDataFormat::cloud_config:
      text = cloud_config_text(files);
      break;
    case UserDataFormat::ignition:
      text = ignition_text(files, data.ssh_keys);
      break;
  }
  if (!same(read_user_data(text, format), files))
    throw Error("cannot write user-data: a value in it would be read as something else");
  return text;
}

}  // namespace rayctl::cloud
