#include "cloud/aws_credentials.h"

#include "base/child.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr auto refresh_before = 5min;

std::string credentials_file() {
  std::string file = environment("AWS_SHARED_CREDENTIALS_FILE");
  return file.empty() ? home_file(".aws/credentials") : file;
}

std::string config_file() {
  std::string file = environment("AWS_CONFIG_FILE");
  return file.empty() ? home_file(".aws/config") : file;
}

std::string profile_name() {
  for (const char* variable : {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"})
    if (std::string name = environment(variable); !name.empty()) return name;
  return "default";
}

std::string key_of(const AwsProfile& profile, const char* key) {
  auto it = profile.keys.find(key);
  return it == profile.keys.end() ? "" : it->second;
}

// Credentials go in clear to these only: the machine itself, and the link-local agents of ECS and EKS.
bool may_be_asked(const Url& url) {
  return url.scheme == "https" || is_loopback_host(url.host) || url.host == "169.254.170.2" ||
         url.host == "169.254.170.23" || url.host == "[fd00:ec2::23]";
}

AwsCredentials from_process(const std::string& line, const AwsProfile& profile) {
  std::vector<std::string> argv = split_command(line);
  if (argv.empty()) throw Error("it is empty");
  Output output = run_captured({.argv = argv});
  if (!output.exit.success())
    throw Error("'{}' ended with {}: {}", argv[0], describe(output.exit), printable(trim(output.err)));
  return parse_aws_credentials(output.out, CredentialDocument::process,
                               fmt::format("credential_process of profile '{}'", profile.name));
}

}  // namespace

AwsProfile aws_profile(std::string_view credentials, std::string_view config, const std::string& name) {
  AwsProfile profile{.name = name};
  Ini first = parse_ini(credentials, credentials_file()), second = parse_ini(config, config_file());
  auto take = [&](const Ini& ini, const std::string& section) {
    auto it = ini.find(section);
    if (it == ini.end()) return;
    profile.found = true;
    for (const auto& entry : it->second) profile.keys.insert(entry);
  };
  take(first, name);
  take(second, "profile " + name);
  if (name == "default") take(second, "default");
  return profile;
}

std::optional<AwsCredentials> profile_keys(const AwsProfile& profile) {
  AwsCredentials found{.access_key = key_of(profile, "aws_access_key_id"),
                       .secret_key = key_of(profile, "aws_secret_access_key"),
                       .session_token = key_of(profile, "aws_session_token"),
                       .source = fmt::format("profile '{}'", profile.name)};
  if (found.access_key.empty() && found.secret_key.empty()) return std::nullopt;
  if (found.access_key.empty() || found.secret_key.empty())
    throw ProviderError(FailureKind::no_credentials, "type: aws configure --profile " + profile.name,
                        "cannot use profile '{}' of Amazon: it has no {}", profile.name,
                        found.access_key.empty() ? "aws_access_key_id" : "aws_secret_access_key");
  return found;
}

std::string unsupported_profile(const AwsProfile& profile) {
  std::string how;
  if (!key_of(profile, "sso_session").empty() || !key_of(profile, "sso_start_url").empty())
    how = "signs in through IAM Identity Center (SSO)";
  else if (!key_of(profile, "role_arn").empty())
    how = "assumes a role";
  if (how.empty()) return "";
  return fmt::format("{}, which rayctl leaves to Amazon's own tool", how);
}

AwsCredentials parse_aws_credentials(std::string_view text, CredentialDocument kind,
                                     const std::string& source) {
  Json json = Json::parse(text, source);
  if (kind == CredentialDocument::process && json.at("Version").size() != 1)
    throw Error("{}: only Version 1 is known, not {}", source, json.at("Version").size());
  if (kind == CredentialDocument::imds && json.string_or("Code", "Success") != "Success")
    throw Error("{}: {}", source, printable(json.string_or("Message", json.at("Code").string())));
  AwsCredentials found{
      .access_key = json.at("AccessKeyId").string(),
      .secret_key = json.at("SecretAccessKey").string(),
      .session_token = json.string_or(kind == CredentialDocument::process ? "SessionToken" : "Token", ""),
      .source = source};
  if (found.access_key.empty() || found.secret_key.empty()) throw Error("{}: empty keys", source);
  if (std::string expires = json.string_or("Expiration", ""); !expires.empty()) {
    found.expires = parse_time(expires);
    if (!found.expires) throw Error("{}: Expiration '{}' is no time", source, printable(expires));
  }
  return found;
}

std::vector<std::string> split_command(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote) {
      if (c == quote)
        quote = 0;
      else if (c == '\\' && quote == '"' && i + 1 < text.size() &&
               (text[i + 1] == '"' || text[i + 1] == '\\'))
        word += text[++i];
      else
        word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      if (c == '\\' && i + 1 < text.size()) c = text[++i];
      word += c;
      in_word = true;
    }
  }
  if (quote) throw Error("cannot split a command: a quote isn't closed");
  if (in_word) words.push_back(std::move(word));
  return words;
}

AwsCredentialChain::AwsCredentialChain(const std::atomic<bool>* cancel)
    : http_({.connect_timeout = 1s, .stall_timeout = 2s, .cancel = cancel}) {}

AwsProfile AwsCredentialChain::profile() const {
  return typed(FailureKind::no_credentials, "mend that file", "cannot use Amazon's profiles", [] {
    return aws_profile(read_file_if_exists(credentials_file(), 1 << 20).value_or(""),
                       read_file_if_exists(config_file(), 1 << 20).value_or(""), profile_name());
  });
}

std::optional<AwsCredentials> AwsCredentialChain::from_profile() {
  AwsProfile found = profile();
  if (!found.found) {
    std::string where =
        fmt::format("profile '{}' in {} and {}", found.name, credentials_file(), config_file());
    if (!environment("AWS_PROFILE").empty())
      throw ProviderError(FailureKind::no_credentials, "type: aws configure --profile " + found.name,
                          "cannot find {}", where);
    looked_.push_back(where);
    return std::nullopt;
  }
  if (auto keys = profile_keys(found)) return keys;
  std::string process = key_of(found, "credential_process");
  if (!process.empty())
    return typed(
        FailureKind::no_credentials, "type that command by hand",
        fmt::format("cannot get credentials from the credential_process of profile '{}'", found.name),
        [&] { return from_process(process, found); });
  if (std::string why = unsupported_profile(found); !why.empty())
    throw ProviderError(
        FailureKind::no_credentials,
        fmt::format("type: eval \"$(aws configure export-credentials --profile {} --format env)\"",
                    found.name),
        "cannot use profile '{}' of Amazon: it {}", found.name, why);
  looked_.push_back(fmt::format("profile '{}' (it has no keys)", found.name));
  return std::nullopt;
}

std::optional<AwsCredentials> AwsCredentialChain::from_container() {
  std::string url = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (std::string relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !relative.empty())
    url = "http://169.254.170.2" + relative;
  if (url.empty()) {
    looked_.push_back("AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)");
    return std::nullopt;
  }
  std::string doing = fmt::format("cannot fetch credentials from '{}'", show_url(url));
  const char* next = "is the container's role still there?";
  if (!typed(FailureKind::no_credentials, next, doing, [&] { return may_be_asked(parse_url(url)); }))
    throw ProviderError(FailureKind::no_credentials, "use https, or an address of this machine",
                        "cannot fetch credentials from '{}': that would be in clear over the network",
                        show_url(url));
  return typed(FailureKind::no_credentials, next, doing, [&] {
    HttpRequest request{.url = url};
    std::string token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (std::string file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty())
      token = std::string(trim(read_file(file, 1 << 16)));
    if (!token.empty()) request.headers.emplace_back("Authorization", token);
    HttpResponse response = http_.send(request);
    if (response.status != 200) throw Error("status {}", response.status);
    return parse_aws_credentials(response.body, CredentialDocument::container, "the container's role");
  });
}

std::optional<AwsCredentials> AwsCredentialChain::from_imds() {
  if (lower_case(environment("AWS_EC2_METADATA_DISABLED")) == "true") {
    looked_.push_back("the metadata service (AWS_EC2_METADATA_DISABLED)");
    return std::nullopt;
  }
  std::string base = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (base.empty()) base = "http://169.254.169.254";
  while (base.ends_with('/')) base.pop_back();
  try {
    HttpResponse token = http_.send({.method = "PUT",
                                     .url = base + "/latest/api/token",
                                     .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}},
                                     .limit = 4096});
    if (token.status != 200) throw Error("status {}", token.status);
    HttpHeaders headers{{"X-aws-ec2-metadata-token", std::string(trim(token.body))}};
    std::string roles = base + "/latest/meta-data/iam/security-credentials/";
    HttpResponse list = http_.send({.url = roles, .headers = headers, .limit = 4096});
    std::string role(trim(std::string_view(list.body).substr(0, list.body.find('\n'))));
    if (list.status != 200 || role.empty()) throw Error("this machine has no role");
    HttpResponse keys =
        http_.send({.url = roles + percent_encode(role), .headers = headers, .limit = 1 << 16});
    if (keys.status != 200) throw Error("status {} for role '{}'", keys.status, printable(role));
    return parse_aws_credentials(keys.body, CredentialDocument::imds,
                                 fmt::format("this machine's role '{}'", printable(role)));
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {  // most machines aren't Amazon's
    looked_.push_back(fmt::format("the metadata service ({})", e.message()));
    return std::nullopt;
  }
}

AwsCredentials AwsCredentialChain::find() {
  looked_.clear();
  AwsCredentials keys{.access_key = environment("AWS_ACCESS_KEY_ID"),
                      .secret_key = environment("AWS_SECRET_ACCESS_KEY"),
                      .session_token = environment("AWS_SESSION_TOKEN"),
                      .source = "AWS_ACCESS_KEY_ID"};
  if (!keys.access_key.empty() && !keys.secret_key.empty()) return keys;
  if (!keys.access_key.empty() || !keys.secret_key.empty())
    throw ProviderError(FailureKind::no_credentials, "set both or none",
                        "cannot use the environment's credentials of Amazon: {} is not set",
                        keys.access_key.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
  looked_.push_back("AWS_ACCESS_KEY_ID (not set)");
  for (auto source : {&AwsCredentialChain::from_profile, &AwsCredentialChain::from_container,
                      &AwsCredentialChain::from_imds})
    if (auto found = (this->*source)()) return *found;
  throw ProviderError(FailureKind::no_credentials,
                      "type: aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                      "cannot find credentials of Amazon: looked at {}", fmt::join(looked_, "; "));
}

AwsCredentials AwsCredentialChain::current() {
  std::lock_guard lock(mutex_);
  if (credentials_ && credentials_->expires &&
      *credentials_->expires - refresh_before < std::chrono::system_clock::now()) {
    try {
      credentials_ = find();
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {  // they still serve for a while
      if (*credentials_->expires < std::chrono::system_clock::now()) throw;
      debug("cannot renew credentials yet: {}", e.message());
    }
  }
  if (!credentials_) {
    credentials_ = find();
    debug("Amazon's credentials come from {}", credentials_->source);
  }
  return *credentials_;
}

bool AwsCredentialChain::refresh() {
  std::lock_guard lock(mutex_);
  std::string before = credentials_ ? credentials_->session_token + credentials_->access_key : "";
  credentials_ = find();
  return credentials_->session_token + credentials_->access_key != before;
}

std::string AwsCredentialChain::region() {
  for (const char* variable : {"AWS_REGION", "AWS_DEFAULT_REGION"})
    if (std::string region = environment(variable); !region.empty()) return region;
  return key_of(profile(), "region");
}

}  // namespace rayctl::cloud
