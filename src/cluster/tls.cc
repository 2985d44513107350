#include "cluster/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/error.h"

namespace rayctl::cluster {

namespace {

constexpr std::string_view protocol = "\x08rayctl/1";  // ALPN: length, name

std::string last_reason() {
  unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  std::string text = reason ? reason : "TLS failed";
  switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
      text = "it doesn't speak TLS";
      break;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      text = "it doesn't speak TLS 1.3";
      break;
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      text = "it says that this member's certificate has expired";
      break;
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
      text = "it refuses this member's certificate";
      break;
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      text = "it says that this member's certificate is from another cluster";
      break;
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      text = "it demands a certificate";
      break;
    default:
      break;
  }
  ERR_clear_error();
  return text;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned in_size, void*) {
  unsigned char* chosen = nullptr;
  int rc = SSL_select_next_proto(&chosen, size, reinterpret_cast<const unsigned char*>(protocol.data()),
                                 static_cast<unsigned>(protocol.size()), in, in_size);
  *out = chosen;
  return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL: a peer that left would end the process with SIGPIPE.
int bio_fd(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int bio_moved(BIO* bio, ssize_t moved, int retry) {
  BIO_clear_retry_flags(bio);
  if (moved < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(moved);
}

int bio_write(BIO* bio, const char* bytes, int size) {
  return bio_moved(bio, send(bio_fd(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

int bio_read(BIO* bio, char* bytes, int size) {
  return bio_moved(bio, recv(bio_fd(bio), bytes, static_cast<size_t>(size), 0), BIO_FLAGS_READ);
}

long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO* socket_bio(int fd) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  BIO* bio = BIO_new(method);
  if (!bio) throw Error("cannot set up TLS: {}", last_reason());
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  return bio;
}

X509Ptr shared(X509* certificate) {
  X509_up_ref(certificate);
  return {certificate, X509_free};
}

}  // namespace

struct TlsContext::State {
  std::shared_ptr<SSL_CTX> context;
  Side side;
  Show show;
  PeerPolicy policy;
  X509Ptr authority, root;
};

struct TlsSession::State {
  std::shared_ptr<TlsContext::State> context;  // before the SSL: it points here
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl{nullptr, SSL_free};
  std::string refusal;  // of the peer's certificate
  Refusal refused = Refusal::none;
  X509Ptr authority, root;

  static int verify(X509_STORE_CTX* store, void*);
  std::string judge(X509* leaf, STACK_OF(X509) * chain, int& code);
  IoStatus status(int rc, std::string_view doing);
};

// Our rules instead of OpenSSL's chain building: one root, at most one authority below it, tolerance for
// clocks.
std::string TlsSession::State::judge(X509* leaf, STACK_OF(X509) * chain, int& code) {
  code = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT;
  refused = Refusal::foreign;
  const PeerPolicy& policy = context->policy;
  X509Ptr certificate = shared(leaf);
  if (is_unclaimed(certificate)) {
    if (policy.unclaimed == PeerPolicy::Unclaimed::accepted) {
      code = X509_V_OK;
      refused = Refusal::none;
      return "";
    }
    refused = Refusal::unclaimed;
    return "it has no cluster yet: its operator must claim it first";
  }
  std::vector<X509Ptr> authorities = {context->authority};
  for (int i = 0; i < sk_X509_num(chain); ++i) authorities.push_back(shared(sk_X509_value(chain, i)));
  X509Ptr trusted = context->root ? context->root : context->authority;
  if (!policy.ca_pin.empty()) {
    trusted = nullptr;
    for (const X509Ptr& candidate : authorities)
      if (candidate && spki_pin(candidate) == policy.ca_pin) trusted = candidate;
    if (!trusted) return "its CA isn't the one that the token names: another cluster, or someone in between";
    if (X509_check_ca(trusted.get()) != 1) return "the certificate that the token names is no authority";
  }
  if (!trusted) return "there is no CA to check it against";
  X509Ptr issuer;
  if (std::string reason = verify_chain(certificate, authorities, trusted, wall_now(), &issuer);
      !reason.empty()) {
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) code = X509_V_ERR_CERT_HAS_EXPIRED;
    return reason;
  }
  code = X509_V_ERR_INVALID_PURPOSE;
  Identity identity = certificate_info(certificate).identity;
  if (policy.role && identity.role != *policy.role)
    return fmt::format("its certificate is for role {}, not {}", role_name(identity.role),
                       role_name(*policy.role));
  authority = issuer;
  root = issuer == trusted ? nullptr : trusted;
  code = X509_V_OK;
  refused = Refusal::none;
  return "";
}

int TlsSession::State::verify(X509_STORE_CTX* store, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* self = static_cast<State*>(SSL_get_app_data(ssl));
  int code = X509_V_ERR_UNSPECIFIED;
  try {
    self->refusal = self->judge(X509_STORE_CTX_get0_cert(store), X509_STORE_CTX_get0_untrusted(store), code);
  } catch (const std::exception& e) {  // no exception may cross OpenSSL's frames
    self->refusal = e.what();
    self->refused = Refusal::foreign;
    if (code == X509_V_OK) code = X509_V_ERR_UNSPECIFIED;
  }
  X509_STORE_CTX_set_error(store, code);
  return self->refusal.empty() ? 1 : 0;
}

TlsContext::TlsContext(Side side, const Credentials& credentials, PeerPolicy policy, Show show)
    : state_(std::make_shared<State>()) {
  state_->side = side;
  state_->show = side == Side::server ? Show::chain : show;
  state_->policy = std::move(policy);
  state_->context = {SSL_CTX_new(side == Side::server ? TLS_server_method() : TLS_client_method()),
                     SSL_CTX_free};
  SSL_CTX* context = state_->context.get();
  if (!context) throw Error("cannot set up TLS: {}", last_reason());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_max_cert_list(context, 16 << 10);
  int mode = SSL_VERIFY_PEER;
  if (side == Side::server && state_->policy.certificate_required) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(context, mode, nullptr);
  SSL_CTX_set_cert_verify_callback(context, &TlsSession::State::verify, nullptr);
  if (side == Side::server) {
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  } else {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(protocol.data()),
                            static_cast<unsigned>(protocol.size()));
  }
  if (side == Side::server && !credentials.joined())
    throw Error("cannot set up TLS: the server has no certificate");
  if (credentials.joined()) renew(credentials);
}

void TlsContext::renew(const Credentials& credentials) {
  SSL_CTX* context = state_->context.get();
  SSL_CTX_clear_chain_certs(context);
  bool good = SSL_CTX_use_certificate(context, credentials.certificate.get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, credentials.key.get()) == 1 &&
              SSL_CTX_check_private_key(context) == 1;
  // The server shows its CAs too: that is how a joining node finds the one that its token names.
  if (state_->show == Show::chain)
    for (const X509Ptr& above : {credentials.authority, credentials.root})
      if (good && above && above != credentials.certificate)
        good = SSL_CTX_add1_chain_cert(context, above.get()) == 1;
  if (!good) throw Error("cannot set up TLS: {}", last_reason());
  state_->authority = credentials.authority;
  state_->root = credentials.root;
}

TlsSession::TlsSession(const TlsContext& context, int fd) : state_(std::make_unique<State>()) {
  state_->context = context.state_;
  state_->ssl.reset(SSL_new(context.state_->context.get()));
  if (!state_->ssl) throw Error("cannot set up TLS: {}", last_reason());
  BIO* bio = socket_bio(fd);
  SSL_set_bio(state_->ssl.get(), bio, bio);
  SSL_set_app_data(state_->ssl.get(), state_.get());
  if (context.state_->side == TlsContext::Side::server)
    SSL_set_accept_state(state_->ssl.get());
  else
    SSL_set_connect_state(state_->ssl.get());
}

TlsSession::TlsSession(TlsSession&&) noexcept = default;
TlsSession& TlsSession::operator=(TlsSession&&) noexcept = default;
TlsSession::~TlsSession() = default;

IoStatus TlsSession::State::status(int rc, std::string_view doing) {
  int code = errno;
  switch (SSL_get_error(ssl.get(), rc)) {
    case SSL_ERROR_NONE:
      return IoStatus::done;
    case SSL_ERROR_WANT_READ:
      return IoStatus::want_read;
    case SSL_ERROR_WANT_WRITE:
      return IoStatus::want_write;
    case SSL_ERROR_ZERO_RETURN:
      return IoStatus::closed;
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      if (code == 0 || code == EPIPE || code == ECONNRESET) return IoStatus::closed;
      throw SysError(code, "cannot {}", doing);
    default:
      break;
  }
  if (!refusal.empty()) {
    ERR_clear_error();
    throw Error("{}", refusal);
  }
  throw Error("{}", last_reason());
}

IoStatus TlsSession::handshake() {
  ERR_clear_error();
  errno = 0;
  return state_->status(SSL_do_handshake(state_->ssl.get()), "shake hands");
}

TlsSession::Moved TlsSession::read(std::span<char> buffer) {
  ERR_clear_error();
  errno = 0;
  size_t size = 0;
  int rc = SSL_read_ex(state_->ssl.get(), buffer.data(), buffer.size(), &size);
  return {state_->status(rc, "read"), size};
}

TlsSession::Moved TlsSession::write(std::string_view bytes) {
  ERR_clear_error();
  errno = 0;
  size_t size = 0;
  int rc = SSL_write_ex(state_->ssl.get(), bytes.data(), bytes.size(), &size);
  return {state_->status(rc, "write"), size};
}

IoStatus TlsSession::shutdown() {
  ERR_clear_error();
  // Before the end of the handshake there is nothing to close, and OpenSSL calls it an error.
  if (!SSL_is_init_finished(state_->ssl.get())) return IoStatus::done;
  int rc = SSL_shutdown(state_->ssl.get());
  ERR_clear_error();
  return rc < 0 ? IoStatus::closed : IoStatus::done;
}

std::optional<CertificateInfo> TlsSession::peer() const {
  X509* certificate = SSL_get0_peer_certificate(state_->ssl.get());
  if (!certificate || !state_->authority) return std::nullopt;
  return certificate_info(shared(certificate));
}

Refusal TlsSession::refused() const {
  return state_->refused;
}

X509Ptr TlsSession::peer_authority() const {
  return state_->authority;
}

X509Ptr TlsSession::peer_root() const {
  return state_->root;
}

std::string TlsSession::exporter(std::string_view label) const {
  std::string bytes(32, '\0');
  if (SSL_export_keying_material(state_->ssl.get(), reinterpret_cast<unsigned char*>(bytes.data()),
                                 bytes.size(), label.data(), label.size(), nullptr, 0, 0) != 1)
    throw Error("cannot tell this connection from others: {}", last_reason());
  return bytes;
}

}  // namespace rayctl::cluster
