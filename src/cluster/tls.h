// TLS 1.3 on a non-blocking socket, with as little memory per connection as OpenSSL allows.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cluster/ca.h"

struct ssl_ctx_st;
struct ssl_st;

namespace rayctl::cluster {

// Whom the other side of a connection must be.
struct PeerPolicy {
  // The CA must have this pin (joining), or be the authority of the credentials when empty.
  std::string ca_pin = {};
  std::optional<MemberRole> role = {};  // the peer's role, e.g. head for every client
  bool certificate_required = true;     // false: the server also takes those who haven't joined yet
  // A head that has no cluster yet, and so no certificate that says anything: for its operator alone.
  enum class Unclaimed { refused, accepted };
  Unclaimed unclaimed = Unclaimed::refused;
};

// Why our side refused the other's certificate.
enum class Refusal { none, foreign, unclaimed };

// One side's settings for many connections: keys, certificate and whom it trusts.
class TlsContext {
 public:
  enum class Side { client, server };
  // What is shown beside the certificate: a server's authorities always; a client's where the server knows
  // none of them.
  enum class Show { certificate, chain };
  TlsContext(Side side, const Credentials& credentials, PeerPolicy policy, Show show = Show::certificate);
  // New connections use the renewed certificate; those that exist go on.
  void renew(const Credentials& credentials);

 private:
  friend class TlsSession;
  struct State;
  std::shared_ptr<State> state_;
};

enum class IoStatus { done, want_read, want_write, closed };

// One connection's TLS over a non-blocking fd that stays the caller's; errors are thrown as Error with the
// reason that a person understands ("the head's certificate has another authority than the token's …").
class TlsSession {
 public:
  TlsSession(const TlsContext& context, int fd);
  TlsSession(TlsSession&&) noexcept;
  TlsSession& operator=(TlsSession&&) noexcept;
  ~TlsSession();

  IoStatus handshake();
  struct Moved {
    IoStatus status;
    size_t size;  // bytes moved when status is done
  };
  Moved read(std::span<char> buffer);
  Moved write(std::string_view bytes);  // must be repeated with the same bytes after want_*
  IoStatus shutdown();                  // sends close_notify, doesn't wait for the peer's

  std::optional<CertificateInfo> peer() const;  // empty: the peer showed no certificate, or is unclaimed
  Refusal refused() const;                      // of the peer's certificate, by our side
  X509Ptr peer_authority() const;  // the CA that the handshake accepted (to keep after a pinned one)
  X509Ptr peer_root() const;       // that signed it, null when that is the same
  // 32 bytes that only the two ends of this very connection know (RFC 8446 section 7.5).
  std::string exporter(std::string_view label) const;

 private:
  friend class TlsContext;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rayctl::cluster
