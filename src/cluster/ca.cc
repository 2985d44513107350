#include "cluster/ca.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cluster/x509.h"

namespace rayctl::cluster {

namespace {

constexpr std::string_view uri_scheme = "rayctl://";
constexpr std::string_view unclaimed_cluster = "unclaimed";
constexpr std::string_view operator_prefix = "user-";
constexpr size_t max_operator_name = 40;

bool id_characters(std::string_view text, size_t most) {
  return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool is_issued_by(const X509Ptr& certificate, const X509Ptr& issuer) {
  bool is = X509_check_issued(issuer.get(), certificate.get()) == X509_V_OK &&
            X509_verify(certificate.get(), X509_get0_pubkey(issuer.get())) == 1;
  ERR_clear_error();
  return is;
}

bool belong_together(const X509Ptr& certificate, const KeyPtr& key) {
  bool fit = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return fit;
}

std::string check_dates(WallTime from, WallTime to, WallTime now) {
  if (now + max_clock_skew < from)
    return fmt::format("its certificate is not valid before {}, and this machine's clock says {}", when(from),
                       when(now));
  if (now - max_clock_skew > to)
    return fmt::format("its certificate expired at {}, and this machine's clock says {}", when(to),
                       when(now));
  return "";
}

// Whether the root lets this one be an authority of its cluster, and of no more.
std::string verify_authority(const X509Ptr& authority, const X509Ptr& root, WallTime now) {
  if (!is_issued_by(authority, root) || X509_check_ca(root.get()) != 1 || X509_get_pathlen(root.get()) == 0)
    return "its certificate is from another cluster";
  if (X509_check_ca(authority.get()) != 1 || X509_get_pathlen(authority.get()) != 0)
    return "the certificate in between is no authority for nodes";
  std::string cluster = constrained_cluster(authority);
  if (cluster.empty() || cluster != constrained_cluster(root))
    return "the certificate in between is an authority for another cluster";
  return check_dates(parse_time(X509_get0_notBefore(authority.get())),
                     parse_time(X509_get0_notAfter(authority.get())), now);
}

}  // namespace

std::string format_identity(const Identity& identity) {
  return fmt::format("{}{}/{}/{}", uri_scheme, identity.cluster, role_name(identity.role), identity.id);
}

std::optional<Identity> parse_identity(std::string_view uri) {
  if (uri.substr(0, uri_scheme.size()) != uri_scheme) return std::nullopt;
  uri.remove_prefix(uri_scheme.size());
  size_t first = uri.find('/'), second = first == uri.npos ? uri.npos : uri.find('/', first + 1);
  if (second == uri.npos) return std::nullopt;
  std::string_view cluster = uri.substr(0, first), id = uri.substr(second + 1);
  std::optional<MemberRole> role = role_by_name(uri.substr(first + 1, second - first - 1));
  if (!role || !id_characters(cluster, 64) || !id_characters(id, 64)) return std::nullopt;
  return Identity{std::string(cluster), *role, std::string(id)};
}

std::string operator_id(std::string_view name) {
  if (!id_characters(name, max_operator_name) || name.front() == '-')
    throw Error("cannot use '{}' as an operator's name: use a-z, 0-9 and '-' inside, at most {} characters",
                printable(name.substr(0, 64)), max_operator_name);
  return std::string(operator_prefix) + std::string(name);
}

std::optional<std::string> operator_name(std::string_view id) {
  if (!id.starts_with(operator_prefix)) return std::nullopt;
  return std::string(id.substr(operator_prefix.size()));
}

KeyPtr make_key() {
  return own(need(EVP_EC_gen(SN_X9_62_prime256v1), "make a key"));
}

KeyPtr parse_key(std::string_view pem, std::string_view name) {
  EVP_PKEY* key = PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, no_password, nullptr);
  ERR_clear_error();
  if (!key) throw Error("cannot read key '{}': it is damaged", name);
  return own(key);
}

std::string to_pem(const KeyPtr& key) {
  Owned<BIO> out(need(BIO_new(BIO_s_secmem() ? BIO_s_secmem() : BIO_s_mem()), "write a key"));
  need_one(PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
           "write a key");
  return drain(out.get());
}

KeyPtr load_or_make_key(const std::string& path) {
  if (auto found = status(path)) {
    if (!S_ISREG(found->st_mode)) throw Error("cannot read key '{}': not a regular file", path);
    if ((found->st_mode & 077) != 0)
      throw Error(
          "cannot use key '{}': others may read it (if nobody did: chmod 600 {}; else: rayctl node reset)",
          path, path);
    std::string pem = read_file(path, max_pem_size);
    KeyPtr key = parse_key(pem, path);
    OPENSSL_cleanse(pem.data(), pem.size());
    return key;
  }
  KeyPtr key = make_key();
  std::string pem = to_pem(key);
  replace_file(path, pem, 0600);
  OPENSSL_cleanse(pem.data(), pem.size());
  return key;
}

std::string node_id(const KeyPtr& key) {
  return id_of(key.get());
}

std::string make_csr(const KeyPtr& key) {
  Owned<X509_REQ> request(need(X509_REQ_new(), "make a certificate request"));
  need_one(X509_REQ_set_version(request.get(), 0), "make a certificate request");
  set_name(X509_REQ_get_subject_name(request.get()), node_id(key));
  need_one(X509_REQ_set_pubkey(request.get(), key.get()), "make a certificate request");
  if (X509_REQ_sign(request.get(), key.get(), digest_for(key.get())) <= 0)
    fail_openssl("sign a certificate request");
  Owned<BIO> out(need(BIO_new(BIO_s_mem()), "make a certificate request"));
  need_one(PEM_write_bio_X509_REQ(out.get(), request.get()), "make a certificate request");
  return drain(out.get());
}

std::string spki_pin(const X509Ptr& certificate) {
  return base64url(spki_digest(X509_get_X509_PUBKEY(certificate.get())));
}

X509Ptr parse_certificate(std::string_view pem, std::string_view name) {
  if (pem.size() > max_pem_size) throw Error("cannot read certificate '{}': it is larger than 64 KiB", name);
  X509* certificate = PEM_read_bio_X509(memory(pem).get(), nullptr, no_password, nullptr);
  ERR_clear_error();
  if (!certificate) throw Error("cannot read certificate '{}': it is damaged", name);
  return own(certificate);
}

std::string to_pem(const X509Ptr& certificate) {
  Owned<BIO> out(need(BIO_new(BIO_s_mem()), "write a certificate"));
  need_one(PEM_write_bio_X509(out.get(), certificate.get()), "write a certificate");
  return drain(out.get());
}

CertificateInfo certificate_info(const X509Ptr& certificate) {
  CertificateInfo info;
  std::optional<Identity> identity = parse_identity(only_uri(certificate.get()));
  ERR_clear_error();
  if (!identity) throw Error("cannot read a certificate: it names no member of a rayctl cluster");
  info.identity = *identity;
  info.not_before = parse_time(X509_get0_notBefore(certificate.get()));
  info.not_after = parse_time(X509_get0_notAfter(certificate.get()));
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate.get());
  info.serial = hex({reinterpret_cast<const char*>(ASN1_STRING_get0_data(serial)),
                     static_cast<size_t>(ASN1_STRING_length(serial))});
  return info;
}

WallTime renewal_time(const CertificateInfo& info, double random) {
  double life = static_cast<double>((info.not_after - info.not_before).count());
  return info.not_before + std::chrono::seconds(static_cast<int64_t>(life * (0.5 + 0.3 * random)));
}

std::string constrained_cluster(const X509Ptr& authority) {
  Owned<NAME_CONSTRAINTS> constraints(static_cast<NAME_CONSTRAINTS*>(
      X509_get_ext_d2i(authority.get(), NID_name_constraints, nullptr, nullptr)));
  ERR_clear_error();
  if (!constraints || sk_GENERAL_SUBTREE_num(constraints->permittedSubtrees) != 1) return "";
  const GENERAL_NAME* base = sk_GENERAL_SUBTREE_value(constraints->permittedSubtrees, 0)->base;
  if (base->type != GEN_URI) return "";
  const ASN1_IA5STRING* uri = base->d.uniformResourceIdentifier;
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
          static_cast<size_t>(ASN1_STRING_length(uri))};
}

X509Ptr make_unclaimed_certificate(const KeyPtr& key, WallTime now) {
  std::string uri = format_identity({std::string(unclaimed_cluster), MemberRole::head, node_id(key)});
  CertificateTimes times;
  return make_certificate({.common_name = "unclaimed head",
                           .from = now - times.backdate,
                           .to = now + times.authority,
                           .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                          {NID_key_usage, "critical,digitalSignature"},
                                          {NID_subject_alt_name, "URI:" + uri}}},
                          key.get(), nullptr, key.get());
}

bool is_unclaimed(const X509Ptr& certificate) {
  std::optional<Identity> identity = parse_identity(only_uri(certificate.get()));
  bool is = identity && identity->cluster == unclaimed_cluster && identity->role == MemberRole::head &&
            X509_verify(certificate.get(), X509_get0_pubkey(certificate.get())) == 1;
  ERR_clear_error();
  return is;
}

Authority::Authority(KeyPtr key, X509Ptr certificate, X509Ptr root, std::string cluster_id,
                     const CertificateTimes& times)
    : key_(std::move(key)),
      certificate_(std::move(certificate)),
      root_(std::move(root)),
      cluster_id_(std::move(cluster_id)),
      pin_(spki_pin(root_ ? root_ : certificate_)),
      times_(times) {}

std::string Authority::request(const std::string& directory) {
  return make_csr(load_or_make_key(join(directory, "ca.key")));
}

void Authority::install(const std::string& directory, const X509Ptr& certificate, const X509Ptr& root,
                        const std::string& cluster_id, WallTime now) {
  KeyPtr key = load_or_make_key(join(directory, "ca.key"));
  if (!belong_together(certificate, key)) throw Error("cannot take the cluster's CA: it is for another key");
  if (std::string reason = verify_authority(certificate, root, now); !reason.empty())
    throw Error("cannot take the cluster's CA: {}", reason);
  if (constrained_cluster(certificate) != cluster_id)
    throw Error("cannot take the cluster's CA: it is for another cluster");
  replace_file(join(directory, "root.crt"), to_pem(root), 0644);
  replace_file(join(directory, "ca.crt"), to_pem(certificate), 0644);
}

Authority Authority::open(const std::string& directory, const std::string& cluster_id,
                          const CertificateTimes& times) {
  std::string key_path = join(directory, "ca.key"), path = join(directory, "ca.crt");
  bool fresh = !exists(path);
  if (!fresh && !exists(key_path))
    throw Error(
        "cannot open the cluster's CA: '{}' is missing (without it no node can join; restore it from a "
        "backup)",
        key_path);
  KeyPtr key = load_or_make_key(key_path);
  if (!fresh) {
    X509Ptr certificate = parse_certificate(read_file(path, max_pem_size), path);
    if (!belong_together(certificate, key))
      throw Error("cannot open the cluster's CA: '{}' and '{}' don't belong together", key_path, path);
    std::string root_path = join(directory, "root.crt");
    X509Ptr root;
    if (auto pem = read_file_if_exists(root_path, max_pem_size)) {
      root = parse_certificate(*pem, root_path);
      if (!is_issued_by(certificate, root))
        throw Error("cannot open the cluster's CA: '{}' and '{}' don't belong together", root_path, path);
    }
    return {std::move(key), std::move(certificate), std::move(root), cluster_id, times};
  }
  WallTime now = wall_now();
  check_clock_is_set(now, "the cluster");
  X509Ptr certificate =
      make_certificate({.common_name = "cluster " + cluster_id,
                        .from = now - times.backdate,
                        .to = now + times.authority,
                        .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                       {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                       {NID_subject_key_identifier, "hash"}}},
                       key.get(), nullptr, key.get());
  replace_file(path, to_pem(certificate), 0644);
  return {std::move(key), std::move(certificate), nullptr, cluster_id, times};
}

X509Ptr Authority::issue(const KeyPtr& key, const Identity& identity, WallTime now) const {
  return issue_member(key, identity, now, certificate_, key_, times_);
}

X509Ptr Authority::sign(std::string_view csr_pem, const Identity& identity, WallTime now) const {
  return issue(key_of_request(csr_pem), identity, now);
}

X509Ptr issue_member(const KeyPtr& key, const Identity& identity, WallTime now, const X509Ptr& issuer,
                     const KeyPtr& issuer_key, const CertificateTimes& times) {
  check_kind(key.get());
  bool is_node = identity.role == MemberRole::head || identity.role == MemberRole::worker;
  if (is_node && identity.id != id_of(key.get()))
    throw Error("cannot sign a certificate for node '{}': the key is another node's", identity.id);
  std::string uri = format_identity(identity);
  if (!parse_identity(uri)) throw Error("cannot sign a certificate for '{}': not an identity", uri);
  WallTime end = now + (is_node                      ? times.node
                        : operator_name(identity.id) ? times.named_operators
                                                     : times.operators);
  return make_certificate(
      {.common_name = identity.id,
       .from = now - times.backdate,
       .to = std::min(end, parse_time(X509_get0_notAfter(issuer.get()))),
       .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage,
                       identity.role == MemberRole::head ? "serverAuth,clientAuth" : "clientAuth"},
                      {NID_authority_key_identifier, "keyid"},
                      {NID_subject_alt_name, "URI:" + uri}}},
      key.get(), issuer, issuer_key.get());
}

Credentials load_credentials(const std::string& directory) {
  Credentials found{
      .key = load_or_make_key(join(directory, "node.key")), .certificate = {}, .authority = {}, .root = {}};
  std::string path = join(directory, "node.crt"), ca_path = join(directory, "ca.crt"),
              root_path = join(directory, "root.crt");
  auto pem = read_file_if_exists(path, max_pem_size), ca_pem = read_file_if_exists(ca_path, max_pem_size),
       root_pem = read_file_if_exists(root_path, max_pem_size);
  if (!pem || !ca_pem) return found;
  found.certificate = parse_certificate(*pem, path);
  found.authority = parse_certificate(*ca_pem, ca_path);
  if (root_pem) found.root = parse_certificate(*root_pem, root_path);
  if (!belong_together(found.certificate, found.key) || !is_issued_by(found.certificate, found.authority) ||
      (found.root && !is_issued_by(found.authority, found.root)))
    throw Error(
        "cannot use '{}': it doesn't fit the key or the CA beside it (leave the cluster with: rayctl node "
        "reset)",
        path);
  return found;
}

void save_certificate(const std::string& directory, const X509Ptr& certificate, const X509Ptr& authority,
                      const X509Ptr& root) {
  // The root and the CA first: a certificate without them counts as none, so that a crash in between repeats
  // the join.
  auto save = [&](const char* name, const X509Ptr& one) {
    if (std::string path = join(directory, name), pem = to_pem(one); read_file_if_exists(path) != pem)
      replace_file(path, pem, 0644);
  };
  if (root) save("root.crt", root);
  save("ca.crt", authority);
  replace_file(join(directory, "node.crt"), to_pem(certificate), 0644);
}

std::string verify_certificate(const X509Ptr& certificate, const X509Ptr& authority, WallTime now) {
  if (!is_issued_by(certificate, authority)) return "its certificate is from another cluster";
  if (X509_check_ca(certificate.get()) != 0) return "its certificate is an authority's";
  CertificateInfo info;
  try {
    info = certificate_info(certificate);
  } catch (const Error& e) {
    return e.message();
  }
  if (std::string only = constrained_cluster(authority); !only.empty() && only != info.identity.cluster)
    return "its certificate is from another cluster";
  return check_dates(info.not_before, info.not_after, now);
}

std::string verify_chain(const X509Ptr& certificate, const std::vector<X509Ptr>& authorities,
                         const X509Ptr& root, WallTime now, X509Ptr* issuer) {
  X509Ptr by = root;
  std::string reason;
  if (!is_issued_by(certificate, root))
    for (const X509Ptr& authority : authorities)
      if (authority && authority != root && is_issued_by(certificate, authority)) {
        by = authority;
        reason = verify_authority(authority, root, now);
        if (reason.empty()) break;
      }
  if (reason.empty()) reason = verify_certificate(certificate, by, now);
  if (reason.empty() && issuer) *issuer = by;
  return reason;
}

}  // namespace rayctl::cluster
