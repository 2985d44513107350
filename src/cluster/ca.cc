#include "cluster/ca.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_pem_size = 64 << 10, max_csr_size = 16 << 10;
constexpr std::string_view uri_scheme = "rayctl://";

struct Free {
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(X509_REQ* p) const { X509_REQ_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

[[noreturn]] void fail(std::string_view what) {
  std::array<char, 256> text{};
  unsigned long code = ERR_get_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  throw Error("cannot {}: {}", what, reason ? reason : code ? text.data() : "OpenSSL refuses");
}

template <class T>
T* need(T* pointer, std::string_view what) {
  if (!pointer) fail(what);
  return pointer;
}

void need_one(int rc, std::string_view what) {
  if (rc != 1) fail(what);
}

X509Ptr own(X509* certificate) {
  return {certificate, X509_free};
}
KeyPtr own(EVP_PKEY* key) {
  return {key, EVP_PKEY_free};
}

Owned<BIO> memory(std::string_view bytes) {
  return Owned<BIO>(need(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())), "read PEM"));
}

std::string drain(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

// OpenSSL asks on the terminal for the password of an encrypted PEM unless it is given one.
int no_password(char*, int, int, void*) {
  return 0;
}

std::string spki_digest(X509_PUBKEY* key) {
  unsigned char* der = nullptr;
  int size = i2d_X509_PUBKEY(key, &der);
  if (size <= 0) fail("encode a public key");
  std::string digest = sha256({reinterpret_cast<char*>(der), static_cast<size_t>(size)});
  OPENSSL_free(der);
  return digest;
}

std::string key_digest(EVP_PKEY* key) {
  X509_PUBKEY* wrapped = nullptr;
  need_one(X509_PUBKEY_set(&wrapped, key), "encode a public key");
  std::string digest;
  try {
    digest = spki_digest(wrapped);
  } catch (...) {
    X509_PUBKEY_free(wrapped);
    throw;
  }
  X509_PUBKEY_free(wrapped);
  return digest;
}

std::string id_of(EVP_PKEY* key) {
  return hex(key_digest(key)).substr(0, 20);
}

WallTime parse_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) throw Error("cannot read a certificate: its dates are damaged");
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

void set_times(X509* certificate, WallTime from, WallTime to) {
  if (!ASN1_TIME_set(X509_getm_notBefore(certificate), std::chrono::system_clock::to_time_t(from)) ||
      !ASN1_TIME_set(X509_getm_notAfter(certificate), std::chrono::system_clock::to_time_t(to)))
    fail("date a certificate");
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  Owned<X509_EXTENSION> extension(
      need(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), "make a certificate's extension"));
  need_one(X509_add_ext(certificate, extension.get(), -1), "make a certificate's extension");
}

void set_serial(X509* certificate) {
  std::string bytes = random_bytes(16);
  bytes[0] = static_cast<char>((bytes[0] & 0x3f) | 0x40);  // positive, and always 16 bytes long
  Owned<BIGNUM> number(need(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()), 16, nullptr),
                            "number a certificate"));
  if (!BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate))) fail("number a certificate");
}

void set_name(X509_NAME* name, const std::string& common_name) {
  auto add = [&](const char* field, const std::string& value) {
    need_one(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                        reinterpret_cast<const unsigned char*>(value.data()),
                                        static_cast<int>(value.size()), -1, 0),
             "name a certificate");
  };
  add("O", "rayctl");
  add("CN", common_name);
}

const EVP_MD* digest_for(EVP_PKEY* key) {
  return EVP_PKEY_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
}

// The key's kind: nothing weak or huge gets a certificate.
void check_kind(EVP_PKEY* key) {
  if (EVP_PKEY_id(key) == EVP_PKEY_ED25519) return;
  std::array<char, 64> group{};
  size_t size = 0;
  if (EVP_PKEY_id(key) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1 ||
      std::string_view(group.data(), size) != SN_X9_62_prime256v1)
    throw Error("cannot sign a certificate: the key is neither P-256 nor Ed25519");
}

bool id_characters(std::string_view text, size_t most) {
  return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

std::string only_uri(X509* certificate) {
  Owned<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names || sk_GENERAL_NAME_num(names.get()) != 1) return "";
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return "";
  const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
          static_cast<size_t>(ASN1_STRING_length(uri))};
}

std::string when(WallTime time) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min);
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

KeyPtr load_or_make_key(const std::string& path) {
  if (auto found = status(path)) {
    if (!S_ISREG(found->st_mode)) throw Error("cannot read key '{}': not a regular file", path);
    if ((found->st_mode & 077) != 0)
      throw Error(
          "cannot use key '{}': others may read it (if nobody did: chmod 600 {}; else: rayctl node reset)",
          path, path);
    std::string pem = read_file(path, max_pem_size);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, no_password, nullptr);
    OPENSSL_cleanse(pem.data(), pem.size());
    if (!key) {
      ERR_clear_error();
      throw Error("cannot read key '{}': it is damaged", path);
    }
    return own(key);
  }
  KeyPtr key = own(need(EVP_EC_gen(SN_X9_62_prime256v1), "make a key"));
  Owned<BIO> out(need(BIO_new(BIO_s_secmem() ? BIO_s_secmem() : BIO_s_mem()), "make a key"));
  need_one(PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
           "write a key");
  std::string pem = drain(out.get());
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
  if (X509_REQ_sign(request.get(), key.get(), digest_for(key.get())) <= 0) fail("sign a certificate request");
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

Authority::Authority(KeyPtr key, X509Ptr certificate, std::string cluster_id, const CertificateTimes& times)
    : key_(std::move(key)),
      certificate_(std::move(certificate)),
      cluster_id_(std::move(cluster_id)),
      pin_(spki_pin(certificate_)),
      times_(times) {}

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
    if (X509_check_private_key(certificate.get(), key.get()) != 1) {
      ERR_clear_error();
      throw Error("cannot open the cluster's CA: '{}' and '{}' don't belong together", key_path, path);
    }
    return {std::move(key), std::move(certificate), cluster_id, times};
  }
  WallTime now = wall_now();
  // A machine without a battery clock starts in 1970: a CA of that date would be expired once the time is
  // set.
  if (now < WallTime(std::chrono::seconds(1767225600)))
    throw Error("cannot create the cluster: this machine's clock says {} (set it first)", when(now));
  X509Ptr certificate = own(need(X509_new(), "make a CA"));
  X509* raw = certificate.get();
  X509_set_version(raw, 2);
  set_serial(raw);
  set_times(raw, now - times.backdate, now + times.authority);
  set_name(X509_get_subject_name(raw), "cluster " + cluster_id);
  need_one(X509_set_issuer_name(raw, X509_get_subject_name(raw)), "make a CA");
  need_one(X509_set_pubkey(raw, key.get()), "make a CA");
  add_extension(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(raw, raw, NID_subject_key_identifier, "hash");
  if (X509_sign(raw, key.get(), digest_for(key.get())) <= 0) fail("sign a CA");
  replace_file(path, to_pem(certificate), 0644);
  return {std::move(key), std::move(certificate), cluster_id, times};
}

X509Ptr Authority::issue(const KeyPtr& key, const Identity& identity, WallTime now) const {
  check_kind(key.get());
  bool is_node = identity.role == MemberRole::head || identity.role == MemberRole::worker;
  if (is_node && identity.id != id_of(key.get()))
    throw Error("cannot sign a certificate for node '{}': the key is another node's", identity.id);
  std::string uri = format_identity(identity);
  if (!parse_identity(uri)) throw Error("cannot sign a certificate for '{}': not an identity", uri);
  X509Ptr certificate = own(need(X509_new(), "make a certificate"));
  X509* raw = certificate.get();
  X509_set_version(raw, 2);
  set_serial(raw);
  WallTime end = now + (is_node ? times_.node : times_.operators);
  set_times(raw, now - times_.backdate, std::min(end, parse_time(X509_get0_notAfter(certificate_.get()))));
  set_name(X509_get_subject_name(raw), identity.id);
  need_one(X509_set_issuer_name(raw, X509_get_subject_name(certificate_.get())), "make a certificate");
  need_one(X509_set_pubkey(raw, key.get()), "make a certificate");
  X509* issuer = certificate_.get();
  add_extension(raw, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(raw, issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(raw, issuer, NID_ext_key_usage,
                identity.role == MemberRole::head ? "serverAuth,clientAuth" : "clientAuth");
  add_extension(raw, issuer, NID_authority_key_identifier, "keyid");
  add_extension(raw, issuer, NID_subject_alt_name, "URI:" + uri);
  if (X509_sign(raw, key_.get(), digest_for(key_.get())) <= 0) fail("sign a certificate");
  return certificate;
}

X509Ptr Authority::sign(std::string_view csr_pem, const Identity& identity, WallTime now) const {
  if (csr_pem.size() > max_csr_size)
    throw Error("cannot read a certificate request: it is larger than 16 KiB");
  Owned<X509_REQ> request(PEM_read_bio_X509_REQ(memory(csr_pem).get(), nullptr, no_password, nullptr));
  EVP_PKEY* raw = request ? X509_REQ_get_pubkey(request.get()) : nullptr;
  ERR_clear_error();
  if (!raw) throw Error("cannot read a certificate request: it is damaged");
  KeyPtr key = own(raw);
  check_kind(raw);
  bool proven = X509_REQ_verify(request.get(), raw) == 1;
  ERR_clear_error();
  if (!proven) throw Error("cannot sign a certificate request: it isn't signed by its own key");
  return issue(key, identity, now);
}

Credentials load_credentials(const std::string& directory) {
  Credentials found{.key = load_or_make_key(join(directory, "node.key")), .certificate = {}, .authority = {}};
  std::string path = join(directory, "node.crt"), ca_path = join(directory, "ca.crt");
  auto pem = read_file_if_exists(path, max_pem_size), ca_pem = read_file_if_exists(ca_path, max_pem_size);
  if (!pem || !ca_pem) return found;
  found.certificate = parse_certificate(*pem, path);
  found.authority = parse_certificate(*ca_pem, ca_path);
  bool fits = X509_check_private_key(found.certificate.get(), found.key.get()) == 1 &&
              X509_verify(found.certificate.get(), X509_get0_pubkey(found.authority.get())) == 1;
  ERR_clear_error();
  if (!fits)
    throw Error(
        "cannot use '{}': it doesn't fit the key or the CA beside it (leave the cluster with: rayctl node "
        "reset)",
        path);
  return found;
}

void save_certificate(const std::string& directory, const X509Ptr& certificate, const X509Ptr& authority) {
  // The CA first: a certificate without it counts as none, so that a crash in between repeats the join.
  if (std::string path = join(directory, "ca.crt"), pem = to_pem(authority); read_file_if_exists(path) != pem)
    replace_file(path, pem, 0644);
  replace_file(join(directory, "node.crt"), to_pem(certificate), 0644);
}

std::string verify_certificate(const X509Ptr& certificate, const X509Ptr& authority, WallTime now) {
  bool signed_by = X509_check_issued(authority.get(), certificate.get()) == X509_V_OK &&
                   X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) == 1;
  ERR_clear_error();
  if (!signed_by) return "its certificate is from another cluster";
  if (X509_check_ca(certificate.get()) != 0) return "its certificate is an authority's";
  CertificateInfo info;
  try {
    info = certificate_info(certificate);
  } catch (const Error& e) {
    return e.message();
  }
  if (now + max_clock_skew < info.not_before)
    return fmt::format("its certificate is not valid before {}, and this machine's clock says {}",
                       when(info.not_before), when(now));
  if (now - max_clock_skew > info.not_after)
    return fmt::format("its certificate expired at {}, and this machine's clock says {}",
                       when(info.not_after), when(now));
  return "";
}

}  // namespace rayctl::cluster
