#include "cloud/azure_credentials.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/aws_client.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;
using std::chrono::system_clock;

namespace {

constexpr const char* next_step =
    "set AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_SUBSCRIPTION_ID; az ad sp "
    "create-for-rbac makes "
    "them";
constexpr const char* resource = "https://management.azure.com/";

}  // namespace

AzureKey parse_azure_key(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  AzureKey key{.source = name};
  for (const auto& [member, value] : json.members()) {
    std::string field = lower_case(member);
    if (!value.is_string()) continue;
    if (field == "tenantid" || field == "tenant") key.tenant = value.string();
    if (field == "clientid" || field == "appid") key.client = value.string();
    if (field == "clientsecret" || field == "password") key.secret = value.string();
    if (field == "subscriptionid") key.subscription = value.string();
  }
  if (key.tenant.empty()) throw Error("{}.tenantId: missing", name);
  if (key.client.empty()) throw Error("{}.clientId: missing", name);
  if (key.secret.empty()) throw Error("{}.clientSecret: missing", name);
  return key;
}

AzureTokens::AzureTokens(const std::atomic<bool>* cancel)
    : http_({.cancel = cancel}), machine_({.connect_timeout = 1s, .stall_timeout = 5s, .cancel = cancel}) {}

std::optional<AzureKey> AzureTokens::key() {
  AzureKey key{.tenant = environment("AZURE_TENANT_ID"),
               .client = environment("AZURE_CLIENT_ID"),
               .secret = environment("AZURE_CLIENT_SECRET"),
               .subscription = environment("AZURE_SUBSCRIPTION_ID"),
               .source = "AZURE_CLIENT_SECRET"};
  if (!key.secret.empty()) {
    for (auto [value, variable] :
         {std::pair(&key.tenant, "AZURE_TENANT_ID"), {&key.client, "AZURE_CLIENT_ID"}})
      if (value->empty())
        throw ProviderError(FailureKind::no_credentials, next_step,
                            "cannot use the environment's credentials of Azure: {} is not set", variable);
    return key;
  }
  looked_.push_back("AZURE_CLIENT_SECRET (not set)");
  std::string file = home_file(".azure/credentials.json");
  return typed(FailureKind::no_credentials, next_step, "cannot use Azure's credentials",
               [&]() -> std::optional<AzureKey> {
                 auto text = read_file_if_exists(file, 1 << 20);
                 if (text) return parse_azure_key(*text, file);
                 looked_.push_back(file);
                 return std::nullopt;
               });
}

AzureTokens::Token AzureTokens::read_token(const HttpResponse& response, const std::string& from) const {
  std::string doing = fmt::format("cannot get a token of Azure from {}", from);
  if (response.status != 200) {
    std::string why = fmt::format("status {}", response.status);
    try {
      Json json = Json::parse(response.body, "answer");
      why = json.string_or("error_description", json.string_or("error", why));
      why = printable(trim(why.substr(0, why.find_first_of("\r\n"))).substr(0, 400));
    } catch (const Error&) {  // no JSON: the status is what there is
      debug("{}: {}", doing, printable(response.body.substr(0, 200)));
    }
    FailureKind kind =
        is_transient_status(response.status) ? FailureKind::transient : FailureKind::unauthorized;
    throw ProviderError(kind, next_step, "{}: {}", doing, why);
  }
  return typed(FailureKind::transient, "type it again", doing, [&] {
    Json json = Json::parse(response.body, "answer");
    // a number from the login service, text from the metadata service
    uint64_t lasts = 300;
    if (auto expires = json.find("expires_in"))
      lasts = expires->is_string() ? std::strtoull(expires->string().c_str(), nullptr, 10) : expires->size();
    return Token{json.at("access_token").string(),
                 system_clock::now() + std::chrono::seconds(std::min<uint64_t>(lasts, 86400))};
  });
}

std::optional<HttpResponse> AzureTokens::metadata(const std::string& path) {
  std::string base = environment("AZURE_POD_IDENTITY_AUTHORITY_HOST");  // as Azure's own libraries have it
  if (base.empty()) base = "http://169.254.169.254";
  while (base.ends_with('/')) base.pop_back();
  try {
    return machine_.send({.url = base + path, .headers = {{"Metadata", "true"}}, .limit = 1 << 20});
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {  // most machines aren't Azure's
    looked_.push_back(fmt::format("the metadata service ({})", e.message()));
    return std::nullopt;
  }
}

AzureTokens::Token AzureTokens::fetch() {
  looked_.clear();
  if (auto found = key()) {
    std::string authority = environment("AZURE_AUTHORITY_HOST");
    if (authority.empty()) authority = "https://login.microsoftonline.com";
    while (authority.ends_with('/')) authority.pop_back();
    AwsParameters form{{"grant_type", "client_credentials"},
                       {"client_id", found->client},
                       {"client_secret", found->secret},
                       {"scope", std::string(resource) + ".default"}};
    HttpRequest request{
        .method = "POST",
        .url = fmt::format("{}/{}/oauth2/v2.0/token", authority, percent_encode(found->tenant)),
        .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
        .body = body_of(form_body(form)),
        .limit = 1 << 18};
    HttpResponse response =
        typed(FailureKind::transient, "is this machine on the network?", "cannot get a token of Azure", [&] {
          Url url = parse_url(request.url);
          if (url.scheme != "https" && !is_loopback_host(url.host))
            throw Error("AZURE_AUTHORITY_HOST isn't https");
          return http_.send(request);
        });
    return read_token(response, found->source);
  }
  std::string path =
      "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + percent_encode(resource);
  if (std::string client = environment("AZURE_CLIENT_ID"); !client.empty())
    path = add_query(path, "client_id", client);
  if (auto response = metadata(path)) {
    if (response->status == 200) return read_token(*response, "this machine's identity");
    looked_.push_back(
        fmt::format("the metadata service (status {}: has this machine an identity?)", response->status));
  }
  throw ProviderError(FailureKind::no_credentials, next_step,
                      "cannot find credentials of Azure: looked at {}", fmt::join(looked_, "; "));
}

std::string AzureTokens::token() {
  std::lock_guard lock(mutex_);
  if (!token_ || token_->expires - 2min < system_clock::now()) token_ = fetch();
  return token_->text;
}

void AzureTokens::renew() {
  std::lock_guard lock(mutex_);
  token_.reset();
}

std::string AzureTokens::subscription() {
  if (std::string id = environment("AZURE_SUBSCRIPTION_ID"); !id.empty()) return id;
  std::lock_guard lock(mutex_);
  if (auto found = key()) return found->subscription;
  auto response = metadata("/metadata/instance/compute?api-version=2021-02-01&format=json");
  if (!response || response->status != 200) return "";
  return typed(
      FailureKind::transient, "give --project", "cannot tell which subscription of Azure this is",
      [&] { return Json::parse(response->body, "the metadata service").string_or("subscriptionId", ""); });
}

std::string AzureTokens::owner() {
  std::lock_guard lock(mutex_);
  auto found = key();
  return found ? "service principal " + found->client : "this machine's identity";
}

}  // namespace rayctl::cloud
