// Certificates, requests and identities from a peer: read or an Error, and no request gets another identity
// than told.
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "cluster/ca.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  using namespace rayctl::cluster;
  static TempDir directory;
  static const Authority authority = Authority::open(directory.path(), "0123456789abcdef");
  if (size < 1) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (auto identity = parse_identity(text); identity && format_identity(*identity) != text) __builtin_trap();
  try {
    if ((data[0] & 1) != 0) {
      X509Ptr certificate = parse_certificate(text, "peer");
      verify_certificate(certificate, authority.certificate(), wall_now());
      certificate_info(certificate);
    } else {
      X509Ptr made = authority.sign(text, {"0123456789abcdef", MemberRole::operator_, "fuzz"}, wall_now());
      CertificateInfo info = certificate_info(made);
      if (info.identity.id != "fuzz" || info.identity.role != MemberRole::operator_) __builtin_trap();
      if (!verify_certificate(made, authority.certificate(), wall_now()).empty()) __builtin_trap();
    }
  } catch (const Error&) {
  }
  return 0;
}
