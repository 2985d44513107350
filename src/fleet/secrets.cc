#include "fleet/secrets.h"

#include <openssl/evp.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::fleet {

namespace {

// RFC 4251, section 5: a length of four bytes, big-endian, then the bytes.
std::string number32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string field(std::string_view bytes) {
  return number32(static_cast<uint32_t>(bytes.size())) + std::string(bytes);
}

struct KeyPair {
  std::string secret, open;  // 32 bytes each (RFC 8032)
};

KeyPair make_ed25519() {
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"),
                                                     EVP_PKEY_free);
  if (!key) throw Error("cannot make an ssh key: OpenSSL refuses");
  KeyPair pair{std::string(32, '\0'), std::string(32, '\0')};
  size_t secret = 32, open = 32;
  if (EVP_PKEY_get_raw_private_key(key.get(), reinterpret_cast<unsigned char*>(pair.secret.data()),
                                   &secret) != 1 ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(pair.open.data()), &open) != 1)
    throw Error("cannot make an ssh key: OpenSSL refuses");
  return pair;
}

// OpenSSH's PROTOCOL.key, version 1, without a passphrase.
std::string openssh_private(const KeyPair& pair, const std::string& comment) {
  std::string open = field("ssh-ed25519") + field(pair.open);
  std::string check = random_bytes(4);
  std::string secret = check + check + open + field(pair.secret + pair.open) + field(comment);
  for (char pad = 1; secret.size() % 8 != 0; ++pad) secret += pad;
  std::string blob = std::string("openssh-key-v1\0", 15) + field("none") + field("none") + field("") +
                     number32(1) + field(open) + field(secret);
  std::string text = to_base64(blob), lines;
  for (size_t i = 0; i < text.size(); i += 70) lines += text.substr(i, 70) + "\n";
  return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + lines + "-----END OPENSSH PRIVATE KEY-----\n";
}

}  // namespace

Secrets read_secrets(const Home& home) {
  Secrets secrets;
  auto text = read_file_if_exists(home.secrets());
  if (!text) return secrets;
  Json json = Json::parse(*text, home.secrets());
  secrets.claimed_head = static_cast<uint32_t>(json.size_or("claimed_head", 0));
  for (const Json& early : json.at("early").items())
    secrets.early.push_back({early.at("token").string(), cluster::parse_token_record(early.at("record"))});
  return secrets;
}

void write_secrets(const Home& home, const Secrets& secrets) {
  nlohmann::json early = nlohmann::json::array();
  for (const Secrets::Early& e : secrets.early)
    early.push_back({{"token", e.token}, {"record", cluster::to_json(e.record)}});
  replace_file(
      home.secrets(),
      nlohmann::json{{"claimed_head", secrets.claimed_head}, {"early", std::move(early)}}.dump() + "\n",
      0600);
}

std::string cluster_ssh_key(const Home& home, const std::string& name) {
  std::string public_path = home.ssh_key() + ".pub";
  if (auto text = read_file_if_exists(public_path); text && exists(home.ssh_key()))
    return std::string(trim(*text));
  KeyPair pair = make_ed25519();
  std::string comment = "rayctl-" + name;
  std::string line = "ssh-ed25519 " + to_base64(field("ssh-ed25519") + field(pair.open)) + " " + comment;
  replace_file(home.ssh_key(), openssh_private(pair, comment), 0600);
  replace_file(public_path, line + "\n", 0644);
  return line;
}

}  // namespace rayctl::fleet
