// Where Amazon's credentials come from: the environment, profiles, a container's or a machine's own role.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cloud/api.h"
#include "cloud/ini.h"
#include "cloud/sigv4.h"

namespace rayctl::cloud {

// One profile of ~/.aws/{credentials,config}; keys of the first file win.
struct AwsProfile {
  std::string name = {};
  IniSection keys = {};
  bool found = false;
};
// The two texts are empty where there is no such file. Throws Error for a file that isn't INI.
AwsProfile aws_profile(std::string_view credentials, std::string_view config, const std::string& name);

// aws_access_key_id and its companions; empty when the profile has none. ProviderError for half a pair.
std::optional<AwsCredentials> profile_keys(const AwsProfile& profile);
// Why the profile's way to get credentials isn't one of ours (SSO, assumed roles), and what to do; empty when
// it is.
std::string unsupported_profile(const AwsProfile& profile);

enum class CredentialDocument { process, container, imds };
// The JSON that a credential process, a container's agent or the metadata service answers with.
AwsCredentials parse_aws_credentials(std::string_view json, CredentialDocument kind,
                                     const std::string& source);

// A command line as POSIX quotes it; no expansions. Throws Error for a quote that isn't closed.
std::vector<std::string> split_command(std::string_view text);

// The chain, in the order of Amazon's own tools. Thread-safe.
class AwsCredentialChain {
 public:
  explicit AwsCredentialChain(const std::atomic<bool>* cancel);

  // Those in use; temporary ones are fetched anew five minutes before they expire. ProviderError:
  // no_credentials lists where it looked.
  AwsCredentials current();
  // Fetches them anew whatever their age: the cloud says that they expired. False when they'd be the same
  // ones.
  bool refresh();
  // AWS_REGION, AWS_DEFAULT_REGION or the profile's; "" when nothing says.
  std::string region();

 private:
  AwsCredentials find();
  std::optional<AwsCredentials> from_profile();
  std::optional<AwsCredentials> from_container();
  std::optional<AwsCredentials> from_imds();
  AwsProfile profile() const;

  HttpPool http_;
  std::mutex mutex_;
  std::optional<AwsCredentials> credentials_ = {};
  std::vector<std::string> looked_ = {};  // what find() tried, for its error
};

}  // namespace rayctl::cloud
