// OpenSSL's certificates behind owned handles: what the cluster's authorities share.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/ca.h"

namespace rayctl::cluster {

constexpr size_t max_pem_size = 64 << 10, max_csr_size = 16 << 10;

struct OpensslFree {
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(X509_REQ* p) const { X509_REQ_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(NAME_CONSTRAINTS* p) const { NAME_CONSTRAINTS_free(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, OpensslFree>;

[[noreturn]] void fail_openssl(std::string_view what);  // "cannot <what>: <OpenSSL's reason>"
template <class T>
T* need(T* pointer, std::string_view what) {
  if (!pointer) fail_openssl(what);
  return pointer;
}
inline void need_one(int rc, std::string_view what) {
  if (rc != 1) fail_openssl(what);
}

X509Ptr own(X509* certificate);
KeyPtr own(EVP_PKEY* key);
Owned<BIO> memory(std::string_view bytes);
std::string drain(BIO* bio);
int no_password(char*, int, int, void*);  // OpenSSL asks on the terminal unless it is given one

WallTime parse_time(const ASN1_TIME* time);
std::string when(WallTime time);            // "2026-11-24 13:00 UTC"
std::string spki_digest(X509_PUBKEY* key);  // sha256 of the SubjectPublicKeyInfo, raw
std::string key_digest(EVP_PKEY* key);
std::string id_of(EVP_PKEY* key);  // node_id()
void check_kind(EVP_PKEY* key);    // P-256 or Ed25519: nothing weak or huge gets a certificate
void set_name(X509_NAME* name, const std::string& common_name);
const EVP_MD* digest_for(EVP_PKEY* key);
std::string only_uri(X509* certificate);  // of its subjectAltName; empty when there is anything else in it

// The key of a request that its own signature proves.
KeyPtr key_of_request(std::string_view csr_pem);

// What a certificate says; its serial number is random.
struct CertificateText {
  std::string common_name;
  WallTime from, to;
  std::vector<std::pair<int, std::string>> extensions;  // NID and OpenSSL's text for it
};
// Signs it; a null issuer makes it self-signed.
X509Ptr make_certificate(const CertificateText& text, EVP_PKEY* subject, const X509Ptr& issuer,
                         EVP_PKEY* issuer_key);
// Throws when this machine's clock can't be right: an authority of 1970 would be expired once it is.
void check_clock_is_set(WallTime now, std::string_view making);

}  // namespace rayctl::cluster
