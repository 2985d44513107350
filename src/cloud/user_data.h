// What a machine is told at its first boot: install rayctl, and run it under systemd.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::cloud {

// boothook: a shell script for cloud-init, early in every boot (default). cloud_config: the same files for
// its modules write_files and runcmd, which start the node late in the first boot. ignition: Flatcar, Fedora
// CoreOS.
enum class UserDataFormat { boothook, cloud_config, ignition };
std::vector<std::string> user_data_formats();  // "boothook", "cloud-config", "ignition"
UserDataFormat user_data_format(const std::string& name);

// Where the machine fetches rayctl from. Nothing but this hash is trusted, so plain HTTP will do.
struct BinarySource {
  std::vector<std::string> urls = {};  // http or https, tried in turn until one gives the file
  std::string sha256 = {};             // hex
};

// The URL of the head's own binary, which the control port hands to anyone: it is no secret.
// `address` is a host or an IP literal, without port.
std::string binary_of_head(const std::string& address, unsigned port);

struct UserData {
  std::string node_config = {};  // JSON object: the content of /etc/rayctl/node.json, without the token
  std::string token = {};        // a worker's join token or a head's claim token; may be empty
  BinarySource binary = {};      //
  std::vector<std::string> ssh_keys = {};  // "ssh-ed25519 AAAA… me": may log in as the image's login user
};

inline constexpr std::string_view config_directory = "/etc/rayctl";
inline constexpr std::string_view token_path = "/etc/rayctl/token";

// One file that the document writes.
struct NodeFile {
  enum class Write { always, until_member };  // until_member: not any more once the node has its certificate
  std::string path;
  unsigned mode = 0600;
  std::string text;  // ends with a newline
  Write write = Write::always;
};

// All files of a node, in the order in which they are written; the last two are the units. The token's place
// is added to the configuration: `token-file`, on a head `claim-token-file`.
// Errors name the field that can't be used.
std::vector<NodeFile> node_files(const UserData& data, UserDataFormat format = UserDataFormat::boothook);

// The document. Every format is read back and compared with node_files() before it is returned.
std::string user_data(const UserData& data, UserDataFormat format = UserDataFormat::boothook);

// What a document of this module writes: read with the grammar of its format, for tests and for the
// comparison.
std::vector<NodeFile> read_user_data(const std::string& text, UserDataFormat format);

}  // namespace rayctl::cloud
