#include "cloud/user_data.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cloud/units.h"

using namespace rayctl;
using namespace rayctl::cloud;

namespace {

// Compares with tests/golden/cloud/NAME; RAYCTL_ACCEPT=1 rewrites it.
void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/cloud/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(read_file(path) == text);
}

const std::string hash(64, 'a');

UserData head() {
  return {
      .node_config = R"({"role": "head", "image": "registry:5000/ray", "workers": 2, "overlay": "vxlan"})",
      .binary = {{"https://example.com/rayctl-0.1.0-linux-x86_64"}, hash},
      .ssh_keys = {
          "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 me@here"}};
}

UserData worker() {
  return {.node_config = R"({"role": "worker", "join": "10.0.0.1"})",
          .token = "rctl1." + std::string(43, 'p') + ".worker.abcd1234." + std::string(43, 's'),
          .binary = {{binary_of_head("10.0.0.1", 7443), "https://example.com/rayctl"}, hash}};
}

std::string error_of(const UserData& data) {
  try {
    user_data(data);
  } catch (const Error& e) {
    return e.message();
  }
  return "no error";
}

const NodeFile& file(const std::vector<NodeFile>& files, const std::string& path) {
  for (const NodeFile& f : files)
    if (f.path == path) return f;
  throw Error("no '{}'", path);
}

}  // namespace

TEST_CASE("user-data in each format is as reviewed, and small") {
  for (const std::string& name : user_data_formats()) {
    check_golden("head." + name, user_data(head(), user_data_format(name)));
    check_golden("worker." + name, user_data(worker(), user_data_format(name)));
  }
  CHECK(user_data(head()).size() < 4096);
  CHECK(user_data(worker()).size() < 4096);
}

TEST_CASE("the configuration says where the token is, and both are for root alone") {
  auto files = node_files(worker());
  const NodeFile& config = file(files, "/etc/rayctl/node.json");
  CHECK(config.mode == 0600);
  CHECK(Json::parse(config.text, "c").at("token-file").string() == token_path);
  const NodeFile& token = file(files, std::string(token_path));
  CHECK(token.mode == 0600);
  CHECK(token.write == NodeFile::Write::until_member);
  UserData claimed = head();
  claimed.token = "rctl1.x";
  CHECK(Json::parse(node_files(claimed)[0].text, "c").at("claim-token-file").string() == token_path);
  CHECK_FALSE(Json::parse(node_files(head())[0].text, "c").has("claim-token-file"));
}

TEST_CASE("what a value can't be is told by field") {
  UserData data = head();
  data.binary.sha256 = "abc";
  CHECK(error_of(data) == "sha256: 'abc' isn't a SHA-256 of 64 lower-case hex digits");
  data = head();
  data.binary.urls = {"https://example.com/a'b"};
  CHECK(error_of(data) ==
        "binary: 'https://example.com/a'b' has a character that a URL can't have: write it as %XX");
  data.binary.urls = {};
  CHECK(error_of(data) == "binary: no URL says where the machine fetches rayctl");
  data.binary.urls = {"ftp://example.com/rayctl"};
  CHECK(error_of(data) != "no error");
  data = head();
  data.ssh_keys = {"AAAA"};
  CHECK(error_of(data) == "ssh key: 'AAAA' isn't a public key, like 'ssh-ed25519 AAAA… name'");
  data.ssh_keys = {"ssh-ed25519 AAAA\nE\nreboot"};
  CHECK(error_of(data) == R"(ssh key: 'ssh-ed25519 AAAA\x0aE\x0areboot' isn't one line of plain ASCII)");
  data = worker();
  data.token = "rctl1.$(reboot)";
  CHECK(error_of(data) == "token: it has a character that no token has");
  data = head();
  data.node_config = R"({"role": "master"})";
  CHECK(error_of(data) == "node configuration.role: 'master' is neither head nor worker");
  CHECK_THROWS_AS(user_data_format("yaml"), UsageError);
}

TEST_CASE("no value in the configuration breaks out of its file") {
  UserData data = head();
  data.node_config =
      nlohmann::json{{"role", "head"}, {"job", "E\n'$(reboot)' `x` \" # : - |\n\tE\nE"}}.dump();
  for (const std::string& name : user_data_formats()) {
    UserDataFormat format = user_data_format(name);
    auto files = read_user_data(user_data(data, format), format);
    CHECK(files.size() == node_files(data, format).size());
    CHECK(Json::parse(files[0].text, "c").at("job").string() == "E\n'$(reboot)' `x` \" # : - |\n\tE\nE");
  }
}

TEST_CASE("the shell accepts the boothook and the script in it") {
  for (const UserData& data : {head(), worker()}) {
    for (const NodeFile& f : node_files(data))
      if (f.text.starts_with("#!/bin/sh")) CHECK(run_captured({.argv = {"sh", "-n"}}, f.text).err.empty());
    CHECK(run_captured({.argv = {"sh", "-n"}}, user_data(data)).exit.success());
  }
}

TEST_CASE("a cloud-config that cloud-init would misread is not read") {
  auto read = [](const char* text) { return read_user_data(text, UserDataFormat::cloud_config); };
  CHECK_THROWS_WITH(read("#cloud-config\nruncmds: []\n"),
                    "cannot read user-data: 'runcmds' is no key of a cloud-config");
  CHECK_THROWS_WITH(read("#cloud-config\nwrite_files:\n- path: /a\n  permissions: 0600\n"),
                    "cannot read user-data: 'permissions' of a file isn't as cloud-init wants it");
  CHECK_THROWS_WITH(read("#cloud-config\nwrite_files:\n- path: /a\n  contents: x\n"),
                    "cannot read user-data: 'contents' of a file isn't as cloud-init wants it");
}

TEST_CASE("units wait for the network, and for no unit of cloud-init") {
  for (const Unit& unit : node_units()) {
    CHECK(unit.text.find("After=") != std::string::npos);
    CHECK(unit.text.find("network-online.target") != std::string::npos);
    CHECK(unit.text.find("cloud-") == std::string::npos);
    CHECK(unit.text.find("ExecStartPre") == std::string::npos);
  }
  CHECK(node_units("/opt/bin/rayctl", "/etc/rayctl/prepare")[0].text.find(
            "ExecStartPre=/bin/sh /etc/rayctl/prepare\n") != std::string::npos);
}

TEST_CASE("the head's binary has one URL") {
  CHECK(binary_of_head("10.0.0.1", 7443) == "http://10.0.0.1:7443/rayctl");
  CHECK(binary_of_head("fd00::1", 7443) == "http://[fd00::1]:7443/rayctl");
}
