// One registry, by the OCI distribution specification 1.1.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/http.h"
#include "base/retry.h"
#include "oci/auth.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace rayctl::oci {

struct RegistryOptions {
  std::string ca_file =
      {};  // PEM, trusted besides the system's and those in /etc/{containers,docker}/certs.d/HOST
  std::string ca_text = {};  // PEM, the same
  bool insecure = false;     // plain HTTP and unknown certificates are fine (loopback may speak HTTP anyway)
  std::string auth_file = {};
  std::optional<Credentials> credentials = {};  // in place of what the files say
  RetryPolicy retry = default_retry_policy();
  const std::atomic<bool>* cancel = nullptr;
};

// A refusal by the registry.
class RegistryError : public Error {
 public:
  template <class... A>
  RegistryError(int status, fmt::format_string<A...> format, A&&... args)
      : Error(format, std::forward<A>(args)...), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

// Safe to use from many threads: each request borrows a connection.
class Registry {
 public:
  explicit Registry(std::string host, RegistryOptions options = {});
  ~Registry();
  const std::string& host() const { return host_; }

  // Whether the registry lets us in; throws with the reason else. `rayctl login` asks this.
  void check_login();

  struct Fetched {
    std::string bytes;
    Descriptor
        descriptor;  // type, digest and size of the bytes; the digest was verified when asked for by digest
  };
  Fetched manifest(const std::string& repository, const std::string& version);
  std::optional<Descriptor> has_manifest(const std::string& repository, const std::string& version);

  // Streams a blob from byte `offset` on, through retries that go on where the last try ended. `take` gets
  // each byte once; it is the caller that verifies. A registry without ranges sends all, and what was taken
  // is skipped.
  void blob(const std::string& repository, const Descriptor& blob, uint64_t offset, const Sink& take);

  // The same for `size` bytes alone. False when the registry sends no ranges; then some may have been taken.
  bool blob_piece(const std::string& repository, const Descriptor& blob, uint64_t first, uint64_t size,
                  const Sink& take);

  bool has_blob(const std::string& repository, const Digest& digest);
  // True when the registry took it over from another of its repositories.
  bool mount(const std::string& repository, const Digest& digest, const std::string& from);
  // `open` starts the blob at a byte; `advance` hears of bytes that went out (negative: they go again).
  using OpenAt = std::function<Source(uint64_t offset)>;
  void upload(const std::string& repository, const Descriptor& blob, const OpenAt& open,
              const std::function<void(int64_t)>& advance);
  void put_manifest(const std::string& repository, const std::string& version, const std::string& bytes,
                    const std::string& media_type);

 private:
  enum class Access { pull, push };
  struct Scope {
    std::string repository;
    Access access = Access::pull;
    std::string mount_from = {};
    std::vector<std::string> list() const;
  };
  struct Upload;

  enum class Ranges { wanted, required };
  bool fetch_blob(const std::string& repository, const Descriptor& blob, uint64_t at, uint64_t end,
                  Ranges ranges, const Sink& take);
  std::string base_url();
  std::string url_of(std::string_view repository, std::string_view kind, std::string_view what);
  // One request, authorised; a refusal is returned as a response.
  HttpResponse call(const HttpRequest& request, const Scope& scope, const OnBody& on_body = {});
  HttpResponse call_with_retry(const HttpRequest& request, const Scope& scope);
  HttpResponse perform(const HttpRequest& request, const OnBody& on_body);
  struct Authorization {
    std::string header = {};
    std::chrono::steady_clock::time_point expires = std::chrono::steady_clock::time_point::max();
  };
  Authorization authorization(const Scope& scope, const HttpResponse* refused);
  Authorization fetch_token(const Challenge& challenge, const Scope& scope, const Credentials& credentials);
  Credentials credentials_for(const Scope& scope);
  // What the registry says about its refusal, or else the status.
  static std::string error_text(const HttpResponse& response);
  [[noreturn]] void refuse(const HttpResponse& response, std::string_view what, const Scope& scope);
  void wait_before_retry(int tried, const HttpResponse* response, const std::string& reason);
  bool try_upload_whole(Upload& upload, std::string& location);
  bool try_upload_chunks(Upload& upload, std::string location);
  std::string start_upload(const Upload& upload);

  std::string host_;
  RegistryOptions options_;
  HttpOptions http_options_;
  std::mutex mutex_;
  std::vector<Http> idle_;
  std::string base_url_;
  std::optional<Challenge> challenge_;  // of the last refusal: tokens are fetched before they are asked for
  std::map<std::string, Authorization> tokens_;  // by scope
  std::map<std::string, std::string> sessions_;  // uploads that a refused mount opened
};

}  // namespace rayctl::oci
