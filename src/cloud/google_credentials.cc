#include "cloud/google_credentials.h"

#include <curl/curl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/aws_client.h"
#include "cloud/ini.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;
using std::chrono::system_clock;

namespace {

constexpr const char* scope = "https://www.googleapis.com/auth/compute";
constexpr const char* usual_token_uri = "https://oauth2.googleapis.com/token";
constexpr const char* next_step =
    "type: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS";

std::string gcloud_directory() {
  std::string directory = environment("CLOUDSDK_CONFIG");
  return directory.empty() ? home_file(".config/gcloud") : directory;
}

std::string rs256(const std::string& pem, const std::string& text) {
  std::unique_ptr<BIO, decltype([](BIO* b) { BIO_free(b); })> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::unique_ptr<EVP_PKEY, decltype([](EVP_PKEY* k) { EVP_PKEY_free(k); })> key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
  if (!key || EVP_PKEY_base_id(key.get()) != EVP_PKEY_RSA)
    throw Error("private_key: expected an RSA key in PEM");
  std::unique_ptr<EVP_MD_CTX, decltype([](EVP_MD_CTX* c) { EVP_MD_CTX_free(c); })> context(EVP_MD_CTX_new());
  std::string signature(static_cast<size_t>(EVP_PKEY_size(key.get())), '\0');
  size_t size = signature.size();
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     reinterpret_cast<const unsigned char*>(text.data()), text.size()) != 1)
    throw Error("cannot sign: OpenSSL refuses");
  signature.resize(size);
  return signature;
}

}  // namespace

GoogleKey parse_google_key(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  std::string type = json.at("type").string();
  GoogleKey key{.token_uri = json.string_or("token_uri", usual_token_uri)};
  if (type == "service_account") {
    key.email = json.at("client_email").string();
    key.private_key = json.at("private_key").string();
    key.key_id = json.string_or("private_key_id", "");
    key.project = json.string_or("project_id", "");
  } else if (type == "authorized_user") {
    key.kind = GoogleKey::Kind::authorized_user;
    key.client_id = json.at("client_id").string();
    key.client_secret = json.at("client_secret").string();
    key.refresh_token = json.at("refresh_token").string();
    key.project = json.string_or("quota_project_id", "");
  } else {
    throw Error("{}: credentials of type '{}' aren't among ours: service_account, authorized_user", name,
                printable(type));
  }
  Url url = parse_url(key.token_uri);
  if (url.scheme != "https" && !is_loopback_host(url.host))
    throw Error("{}.token_uri: '{}' isn't https", name, show_url(key.token_uri));
  return key;
}

std::string google_assertion(const GoogleKey& key, system_clock::time_point now) {
  int64_t seconds = system_clock::to_time_t(now);
  nlohmann::json header{{"alg", "RS256"}, {"typ", "JWT"}};
  if (!key.key_id.empty()) header["kid"] = key.key_id;
  nlohmann::json claims{{"iss", key.email},
                        {"scope", scope},
                        {"aud", key.token_uri},
                        {"iat", seconds},
                        {"exp", seconds + 3600}};
  std::string text = base64url(header.dump()) + "." + base64url(claims.dump());
  return text + "." + base64url(rs256(key.private_key, text));
}

GoogleTokens::GoogleTokens(const std::atomic<bool>* cancel)
    : http_({.cancel = cancel}), machine_({.connect_timeout = 1s, .stall_timeout = 2s, .cancel = cancel}) {}

std::optional<GoogleKey> GoogleTokens::key() {
  std::string named = environment("GOOGLE_APPLICATION_CREDENTIALS");
  std::string file = named.empty() ? join(gcloud_directory(), "application_default_credentials.json") : named;
  auto text = typed(FailureKind::no_credentials, next_step, "cannot use Google's credentials",
                    [&] { return read_file_if_exists(file, 1 << 20); });
  if (!text && !named.empty())
    throw ProviderError(FailureKind::no_credentials, next_step,
                        "cannot use Google's credentials: there is no '{}' (GOOGLE_APPLICATION_CREDENTIALS)",
                        named);
  if (!text) {
    looked_.push_back("GOOGLE_APPLICATION_CREDENTIALS (not set)");
    looked_.push_back(file);
    return std::nullopt;
  }
  return typed(FailureKind::no_credentials, next_step, "cannot use Google's credentials",
               [&] { return parse_google_key(*text, file); });
}

GoogleTokens::Token GoogleTokens::read_token(const HttpResponse& response, const std::string& from) const {
  if (response.status != 200) {
    std::string why = fmt::format("status {}", response.status);
    try {
      Json json = Json::parse(response.body, "answer");
      why = printable(json.string_or("error_description", json.string_or("error", why)));
    } catch (const Error&) {  // no JSON: the status is what there is
      debug("{}: {}", from, printable(response.body.substr(0, 200)));
    }
    FailureKind kind =
        is_transient_status(response.status) ? FailureKind::transient : FailureKind::unauthorized;
    throw ProviderError(kind, next_step, "cannot get a token of Google from {}: {}", from, why);
  }
  return typed(FailureKind::transient, "type it again", "cannot get a token of Google from " + from, [&] {
    Json json = Json::parse(response.body, "answer");
    auto lasts = std::chrono::seconds(std::min<uint64_t>(json.size_or("expires_in", 300), 86400));
    return Token{json.at("access_token").string(), system_clock::now() + lasts};
  });
}

GoogleTokens::Token GoogleTokens::ask(const GoogleKey& key) {
  std::string from = key.kind == GoogleKey::Kind::service_account ? key.email : "the login of gcloud";
  for (bool again = false;; again = true) {
    AwsParameters form;
    if (key.kind == GoogleKey::Kind::service_account)
      form = {
          {"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
          {"assertion", typed(FailureKind::no_credentials, next_step, "cannot use Google's credentials",
                              [&] { return google_assertion(key, system_clock::now() + clock_offset_); })}};
    else
      form = {{"grant_type", "refresh_token"},
              {"client_id", key.client_id},
              {"client_secret", key.client_secret},
              {"refresh_token", key.refresh_token}};
    HttpRequest request{.method = "POST",
                        .url = key.token_uri,
                        .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                        .body = body_of(form_body(form)),
                        .limit = 1 << 16};
    HttpResponse response = typed(FailureKind::transient, "is this machine on the network?",
                                  "cannot get a token of Google", [&] { return http_.send(request); });
    // An assertion of another time is refused: the answer's Date is Google's clock.
    auto date = response.header("Date");
    if (response.status == 400 && !again && date &&
        response.body.find("invalid_grant") != std::string::npos) {
      time_t theirs = curl_getdate(date->c_str(), nullptr);
      auto offset = std::chrono::seconds(theirs - system_clock::to_time_t(system_clock::now()));
      if (theirs > 0 && std::chrono::abs(offset) > 60s) {
        warn("this machine's clock is {} {}: set it", human_duration(std::chrono::abs(offset)),
             offset > 0s ? "slow" : "fast");
        clock_offset_ = offset;
        continue;
      }
    }
    return read_token(response, from);
  }
}

std::optional<std::string> GoogleTokens::metadata(const std::string& path) {
  std::string host = environment("GCE_METADATA_HOST");
  if (host.empty()) host = "169.254.169.254";
  try {
    HttpResponse response = machine_.send({.url = "http://" + host + "/computeMetadata/v1/" + path,
                                           .headers = {{"Metadata-Flavor", "Google"}},
                                           .limit = 1 << 16});
    if (response.status == 200 && response.header("Metadata-Flavor") == "Google") return response.body;
    looked_.push_back(fmt::format("the metadata service (status {})", response.status));
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {  // most machines aren't Google's
    looked_.push_back(fmt::format("the metadata service ({})", e.message()));
  }
  return std::nullopt;
}

GoogleTokens::Token GoogleTokens::fetch() {
  looked_.clear();
  if (auto found = key()) return ask(*found);
  if (auto body = metadata("instance/service-accounts/default/token")) {
    HttpResponse response;
    response.status = 200;
    response.body = *body;
    return read_token(response, "this machine's service account");
  }
  throw ProviderError(FailureKind::no_credentials, next_step,
                      "cannot find credentials of Google: looked at {}", fmt::join(looked_, "; "));
}

std::string GoogleTokens::token() {
  std::lock_guard lock(mutex_);
  if (!token_ || token_->expires - 2min < system_clock::now()) token_ = fetch();
  return token_->text;
}

void GoogleTokens::renew() {
  std::lock_guard lock(mutex_);
  token_.reset();
}

std::string GoogleTokens::project() {
  for (const char* variable : {"GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT"})
    if (std::string project = environment(variable); !project.empty()) return project;
  std::lock_guard lock(mutex_);
  auto found = key();
  if (found && !found->project.empty()) return found->project;
  std::string name = environment("CLOUDSDK_ACTIVE_CONFIG_NAME");
  if (name.empty())
    name = std::string(
        trim(read_file_if_exists(join(gcloud_directory(), "active_config"), 4096).value_or("default")));
  std::string file = join(gcloud_directory(), "configurations/config_" + name);
  Ini ini = typed(FailureKind::no_credentials, "mend that file", "cannot read gcloud's configuration",
                  [&] { return parse_ini(read_file_if_exists(file, 1 << 20).value_or(""), file); });
  if (std::string project = ini["core"]["project"]; !project.empty()) return project;
  if (found) return "";
  return metadata("project/project-id").value_or("");
}

std::string GoogleTokens::owner() {
  std::lock_guard lock(mutex_);
  auto found = key();
  if (!found) return "this machine's service account";
  return found->kind == GoogleKey::Kind::service_account ? "service account " + found->email
                                                         : "the login of gcloud";
}

}  // namespace rayctl::cloud
