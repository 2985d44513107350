#include "cluster/x509.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <array>
#include <ctime>

#include "base/encoding.h"
#include "base/error.h"

namespace rayctl::cluster {

namespace {

void set_times(X509* certificate, WallTime from, WallTime to) {
  if (!ASN1_TIME_set(X509_getm_notBefore(certificate), std::chrono::system_clock::to_time_t(from)) ||
      !ASN1_TIME_set(X509_getm_notAfter(certificate), std::chrono::system_clock::to_time_t(to)))
    fail_openssl("date a certificate");
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
  if (!BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)))
    fail_openssl("number a certificate");
}

}  // namespace

void fail_openssl(std::string_view what) {
  std::array<char, 256> text{};
  unsigned long code = ERR_get_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  throw Error("cannot {}: {}", what, reason ? reason : code ? text.data() : "OpenSSL refuses");
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

int no_password(char*, int, int, void*) {
  return 0;
}

WallTime parse_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) throw Error("cannot read a certificate: its dates are damaged");
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

std::string when(WallTime time) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min);
}

std::string spki_digest(X509_PUBKEY* key) {
  unsigned char* der = nullptr;
  int size = i2d_X509_PUBKEY(key, &der);
  if (size <= 0) fail_openssl("encode a public key");
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

void check_kind(EVP_PKEY* key) {
  if (EVP_PKEY_id(key) == EVP_PKEY_ED25519) return;
  std::array<char, 64> group{};
  size_t size = 0;
  if (EVP_PKEY_id(key) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1 ||
      std::string_view(group.data(), size) != SN_X9_62_prime256v1)
    throw Error("cannot sign a certificate: the key is neither P-256 nor Ed25519");
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

KeyPtr key_of_request(std::string_view csr_pem) {
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
  return key;
}

X509Ptr make_certificate(const CertificateText& text, EVP_PKEY* subject, const X509Ptr& issuer,
                         EVP_PKEY* issuer_key) {
  X509Ptr certificate = own(need(X509_new(), "make a certificate"));
  X509* raw = certificate.get();
  X509* by = issuer ? issuer.get() : raw;
  X509_set_version(raw, 2);
  set_serial(raw);
  set_times(raw, text.from, text.to);
  set_name(X509_get_subject_name(raw), text.common_name);
  need_one(X509_set_issuer_name(raw, X509_get_subject_name(by)), "make a certificate");
  need_one(X509_set_pubkey(raw, subject), "make a certificate");
  for (const auto& [nid, value] : text.extensions) add_extension(raw, by, nid, value);
  if (X509_sign(raw, issuer_key, digest_for(issuer_key)) <= 0) fail_openssl("sign a certificate");
  return certificate;
}

void check_clock_is_set(WallTime now, std::string_view making) {
  if (now < WallTime(std::chrono::seconds(1767225600)))
    throw Error("cannot create {}: this machine's clock says {} (set it first)", making, when(now));
}

}  // namespace rayctl::cluster
