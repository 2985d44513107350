#include "cluster/root.h"

#include <openssl/err.h>
#include <unistd.h>

#include <cstdlib>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cluster/x509.h"

namespace rayctl::cluster {

namespace {

std::string key_file(const std::string& directory) {
  return join(directory, "root.key");
}
std::string certificate_file(const std::string& directory) {
  return join(directory, "root.crt");
}
std::string claim_file(const std::string& directory) {
  return join(directory, "claim-token");
}

}  // namespace

std::string clusters_directory() {
  const char *data = std::getenv("XDG_DATA_HOME"), *home = std::getenv("HOME");
  if (data && *data) return join(data, "rayctl/clusters");
  if (home && *home) return join(home, ".local/share/rayctl/clusters");
  throw Error("cannot find a directory for clusters: neither HOME nor XDG_DATA_HOME is set");
}

void check_context_name(std::string_view name) {
  bool good = !name.empty() && name.size() <= 63 && name.front() != '.' && name.front() != '-';
  for (char c : name)
    good = good && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                    c == '_' || c == '.');
  if (!good)
    throw Error("cannot use '{}' as a cluster's name: use letters, digits, '-', '_' and '.', at most 63",
                printable(name.substr(0, 80)));
}

std::string cluster_home(std::string_view name) {
  check_context_name(name);
  return join(clusters_directory(), name);
}

Root::Root(std::string directory, KeyPtr key, X509Ptr certificate)
    : directory_(std::move(directory)),
      key_(std::move(key)),
      certificate_(std::move(certificate)),
      cluster_id_(constrained_cluster(certificate_)),
      pin_(spki_pin(certificate_)) {}

bool Root::exists(const std::string& directory) {
  return rayctl::exists(certificate_file(directory));
}

Root Root::create(const std::string& directory) {
  if (exists(directory)) throw Error("cannot create a root CA in '{}': there is one", directory);
  WallTime now = wall_now();
  check_clock_is_set(now, "a root CA");
  make_directories(directory, 0700);
  KeyPtr key = load_or_make_key(key_file(directory));
  std::string id = hex(random_bytes(8));
  CertificateTimes times;
  X509Ptr certificate =
      make_certificate({.common_name = "root of cluster " + id,
                        .from = now - times.backdate,
                        .to = now + times.authority,
                        .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:1"},
                                       {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                       {NID_name_constraints, "critical,permitted;URI:" + id},
                                       {NID_subject_key_identifier, "hash"}}},
                       key.get(), nullptr, key.get());
  replace_file(certificate_file(directory), to_pem(certificate), 0644);
  return {directory, std::move(key), std::move(certificate)};
}

Root Root::open(const std::string& directory) {
  std::string path = certificate_file(directory), key_path = key_file(directory);
  if (!rayctl::exists(path)) throw Error("cannot open the cluster's root CA: '{}' is missing", path);
  if (!rayctl::exists(key_path))
    throw Error("cannot open the cluster's root CA: '{}' is missing (restore it from a backup)", key_path);
  KeyPtr key = load_or_make_key(key_path);
  X509Ptr certificate = parse_certificate(read_file(path, max_pem_size), path);
  bool fit = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!fit)
    throw Error("cannot open the cluster's root CA: '{}' and '{}' don't belong together", key_path, path);
  if (constrained_cluster(certificate).empty())
    throw Error("cannot open the cluster's root CA: '{}' isn't a cluster's root", path);
  return {directory, std::move(key), std::move(certificate)};
}

Root Root::open_or_create(const std::string& directory) {
  return exists(directory) ? open(directory) : create(directory);
}

X509Ptr Root::sign_authority(std::string_view csr_pem, WallTime now) const {
  KeyPtr key = key_of_request(csr_pem);
  CertificateTimes times;
  return make_certificate({.common_name = "cluster " + cluster_id_,
                           .from = now - times.backdate,
                           .to = parse_time(X509_get0_notAfter(certificate_.get())),
                           .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                          {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                          {NID_name_constraints, "critical,permitted;URI:" + cluster_id_},
                                          {NID_subject_key_identifier, "hash"},
                                          {NID_authority_key_identifier, "keyid"}}},
                          key.get(), certificate_, key_.get());
}

X509Ptr Root::issue_admin(const KeyPtr& key, std::string_view name, WallTime now) const {
  return issue_member(key, {cluster_id_, MemberRole::admin, operator_id(name)}, now, certificate_, key_, {});
}

Token Root::claim_token() const {
  std::string path = claim_file(directory_);
  if (auto text = read_file_if_exists(path, 4096)) {
    Token token = parse_token(*text);
    if (token.ca_pin == pin_ && token.role == MemberRole::head) return token;
  }
  Token token = make_claim_token(pin_);
  replace_file(path, format_token(token) + "\n", 0600);
  return token;
}

void Root::forget_claim_token() const {
  if (unlink(claim_file(directory_).c_str()) != 0 && errno != ENOENT)
    throw SysError(errno, "cannot remove '{}'", claim_file(directory_));
}

TokenStore::Created Root::worker_token(std::chrono::seconds lifetime, uint32_t uses, WallTime now) const {
  return TokenStore().create(pin_, MemberRole::worker, lifetime, uses, now);
}

}  // namespace rayctl::cluster
