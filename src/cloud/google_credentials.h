// Google's access tokens: of a service account's key, of the user whom gcloud knows, of the machine itself.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cloud/api.h"

namespace rayctl::cloud {

// A credentials file ("Application Default Credentials").
struct GoogleKey {
  enum class Kind { service_account, authorized_user };
  Kind kind = Kind::service_account;
  std::string email = {}, private_key = {}, key_id = {};               // service account; the key is PEM
  std::string client_id = {}, client_secret = {}, refresh_token = {};  // authorized user
  std::string token_uri = {};
  std::string project = {};
};
// Throws Error for a document that is no such file; `name` is for its messages.
GoogleKey parse_google_key(std::string_view json, const std::string& name);

// The signed assertion that is swapped for a token (RFC 7523), valid for an hour from `now`.
std::string google_assertion(const GoogleKey& key, std::chrono::system_clock::time_point now);

// Thread-safe.
class GoogleTokens {
 public:
  explicit GoogleTokens(const std::atomic<bool>* cancel);

  std::string token();  // ProviderError: no_credentials lists where it looked
  void renew();         // forget it: the cloud refused it
  std::string
  project();  // of the environment, the file, gcloud's configuration or the machine; "" when nothing says
  std::string owner();  // "service account x@y", for people

 private:
  struct Token {
    std::string text;
    std::chrono::system_clock::time_point expires;
  };
  std::optional<GoogleKey> key();
  Token fetch();
  Token ask(const GoogleKey& key);
  Token read_token(const HttpResponse& response, const std::string& from) const;
  std::optional<std::string> metadata(const std::string& path);

  HttpPool http_, machine_;  // the second one doesn't wait for a metadata service that isn't there
  std::mutex mutex_;
  std::optional<Token> token_ = {};
  std::vector<std::string> looked_ = {};
  std::chrono::seconds clock_offset_{0};  // that Google is ahead of us
};

}  // namespace rayctl::cloud
