// Azure's access tokens: of a service principal, or of the machine itself (managed identity).
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cloud/api.h"

namespace rayctl::cloud {

// A service principal.
struct AzureKey {
  std::string tenant = {}, client = {}, secret = {}, subscription = {};
  std::string source = {};  // where it came from, for messages
};
// ~/.azure/credentials.json, in the forms that there are: Quilt's ("clientID"), `az ad sp create-for-rbac`'s
// ("appId", "password", "tenant") and its --sdk-auth ("clientId"). Throws Error for another document.
AzureKey parse_azure_key(std::string_view json, const std::string& name);

// Thread-safe.
class AzureTokens {
 public:
  explicit AzureTokens(const std::atomic<bool>* cancel);

  std::string token();         // ProviderError: no_credentials lists where it looked
  void renew();                // forget it: the cloud refused it
  std::string subscription();  // of the environment, the file or the machine; "" when nothing says
  std::string owner();         // "service principal …", for people

 private:
  struct Token {
    std::string text;
    std::chrono::system_clock::time_point expires;
  };
  std::optional<AzureKey> key();
  Token fetch();
  Token read_token(const HttpResponse& response, const std::string& from) const;
  std::optional<HttpResponse> metadata(const std::string& path);

  HttpPool http_, machine_;  // the second one doesn't wait for a metadata service that isn't there
  std::mutex mutex_;
  std::optional<Token> token_ = {};
  std::vector<std::string> looked_ = {};
};

}  // namespace rayctl::cloud
