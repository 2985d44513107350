#include "oci/registry.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "oci/credentials.h"

namespace rayctl::oci {

namespace {

constexpr int most_logins =
    2;  // per request: a registry that refuses what it just gave is not asked for ever

const std::string accepted_manifests = fmt::format("{}, {}, {}, {}", media::oci_index, media::oci_manifest,
                                                   media::docker_index, media::docker_manifest);

// Docker Hub's registry has another name than its images.
std::string server_of(const std::string& host) {
  return host == "docker.io" ? "registry-1.docker.io" : host;
}

// Certificates that other tools were told to trust for this registry.
std::string certs_of_other_tools(const std::string& host) {
  std::string found;
  for (const char* root : {"/etc/containers/certs.d", "/etc/docker/certs.d"}) {
    std::string directory = join(root, host);
    if (!exists(directory)) continue;
    for (const std::string& name : list_directory(directory))
      if (name.ends_with(".crt")) found += read_file(join(directory, name)) + "\n";
  }
  return found;
}

std::string key_of(const std::vector<std::string>& scopes) {
  std::string key;
  for (const std::string& scope : scopes) key += scope + " ";
  return key;
}

}  // namespace

// distribution-spec, "Error Codes"
std::string Registry::error_text(const HttpResponse& response) {
  std::string status = fmt::format("HTTP status {}", response.status);
  try {
    Json json = Json::parse(response.body, "answer", 16);
    std::string text;
    if (auto errors = json.find("errors"))
      for (const Json& error : errors->items()) {
        std::string message = error.string_or("message", "");
        if (message.empty()) message = error.string_or("code", "");
        if (!message.empty()) text += (text.empty() ? "" : "; ") + message;
      }
    if (text.empty()) return status;
    text = printable(text.substr(0, 400));
    return response.status >= 500 ? fmt::format("{} ({})", text, status) : text;
  } catch (const Error&) {  // not every server in front of a registry answers in JSON
    return status;
  }
}

std::vector<std::string> Registry::Scope::list() const {
  if (repository.empty()) return {};
  std::vector<std::string> scopes{access == Access::pull ? pull_scope(repository) : push_scope(repository)};
  if (!mount_from.empty()) scopes.push_back(pull_scope(mount_from));
  return scopes;
}

Registry::Registry(std::string host, RegistryOptions options)
    : host_(std::move(host)), options_(std::move(options)) {
  if (!is_registry(host_))
    throw Error("'{}' is not a registry: expected HOST or HOST:PORT", printable(host_));
  http_options_.ca_file = options_.ca_file;
  http_options_.ca_text = options_.ca_text;
  http_options_.certificates = options_.insecure ? Certificates::accept_any : Certificates::verify;
  http_options_.cancel = options_.cancel;
  http_options_.ca_text = certs_of_other_tools(host_);
}

Registry::~Registry() = default;

HttpResponse Registry::perform(const HttpRequest& request, const OnBody& on_body) {
  std::optional<Http> http;
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      http.emplace(std::move(idle_.back()));
      idle_.pop_back();
    }
  }
  if (!http) http.emplace(http_options_);
  HttpResponse response = http->follow(request, on_body);  // a connection that failed is not kept
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(*http));
  return response;
}

// https, or http where that is allowed and the server speaks nothing else.
std::string Registry::base_url() {
  {
    std::lock_guard lock(mutex_);
    if (!base_url_.empty()) return base_url_;
  }
  std::string server = server_of(host_), found = "https://" + server;
  std::string host = parse_url(found).host;
  bool plain_allowed = options_.insecure || is_loopback_host(host);
  std::optional<HttpResponse> answer;
  for (int tried = 1; !answer; ++tried) {
    try {
      answer = perform({.url = found + "/v2/"}, {});
    } catch (HttpError& e) {
      bool other_protocol = e.kind() == HttpError::Kind::tls || e.kind() == HttpError::Kind::broken;
      if (plain_allowed && found.starts_with("https:") &&
          (other_protocol || e.kind() == HttpError::Kind::connect)) {
        try {
          answer = perform({.url = "http://" + server + "/v2/"}, {});
          found = "http://" + server;
          break;
        } catch (const HttpError& plain) {
          if (plain.kind() == HttpError::Kind::connect || !other_protocol) debug("{}", plain.message());
        }
      }
      if (e.kind() == HttpError::Kind::certificate) {
        e.hint("name the registry's CA: --registry-ca FILE");
        throw;
      }
      if (e.kind() == HttpError::Kind::tls) {
        e.hint("if it speaks plain HTTP: --insecure");
        throw;
      }
      // nothing listens, or the name is wrong: no use in asking again
      if (e.kind() == HttpError::Kind::connect) throw;
      wait_before_retry(tried, nullptr, e.message());
    }
  }
  std::lock_guard lock(mutex_);
  base_url_ = found;
  if (answer->status == 401)
    for (const std::string& header : answer->all("WWW-Authenticate"))
      for (Challenge& c : parse_challenges(header))
        if (!challenge_ && (c.scheme == "bearer" || c.scheme == "basic")) challenge_ = std::move(c);
  return base_url_;
}

std::string Registry::url_of(std::string_view repository, std::string_view kind, std::string_view what) {
  if (!is_repository(repository)) throw Error("'{}' is not a repository", printable(repository));
  return fmt::format("{}/v2/{}/{}/{}", base_url(), repository, kind, what);
}

Credentials Registry::credentials_for(const Scope& scope) {
  if (options_.credentials) return *options_.credentials;
  return find_credentials(host_, scope.repository, options_.auth_file);
}

Registry::Authorization Registry::fetch_token(const Challenge& challenge, const Scope& scope,
                                              const Credentials& credentials) {
  if (!credentials.registry_token.empty()) return {"Bearer " + credentials.registry_token};
  std::string realm = challenge.value("realm");
  validate_realm(realm, base_url());
  std::vector<std::string> scopes = scope.list();
  // what the registry itself names comes first: some servers look at the first scope alone
  if (std::string asked = challenge.value("scope"); !asked.empty() && asked.size() < 4096) {
    std::erase(scopes, asked);
    scopes.insert(scopes.begin(), asked);
  }
  HttpResponse last;
  for (const HttpRequest& request : token_requests(challenge, scopes, credentials)) {
    for (int tried = 1;; ++tried) {
      try {
        last = perform(request, {});
        if (!is_transient_status(last.status)) break;
        wait_before_retry(tried, &last, error_text(last));
      } catch (const HttpError& e) {
        if (!e.transient()) throw;
        wait_before_retry(tried, nullptr, e.message());
      }
    }
    if (last.status == 200) {
      AccessToken token = parse_token(last.body);
      return {"Bearer " + token.token,
              std::chrono::steady_clock::now() + token.lifetime - std::chrono::seconds(10)};
    }
  }
  RegistryError error(last.status, "cannot log in to '{}': {}", host_, error_text(last));
  if (credentials.empty())
    error.hint("type: rayctl login {}", host_);
  else
    error.hint("the stored password may be old; type: rayctl login {}", host_);
  throw error;
}

// The header that goes with a request; `refused` is the answer that asks for a better one.
Registry::Authorization Registry::authorization(const Scope& scope, const HttpResponse* refused) {
  std::optional<Challenge> challenge;
  if (refused) {
    for (const std::string& header : refused->all("WWW-Authenticate"))
      for (Challenge& c : parse_challenges(header))
        if (!challenge && (c.scheme == "bearer" || c.scheme == "basic")) challenge = std::move(c);
    if (!challenge) return {};
    std::lock_guard lock(mutex_);
    challenge_ = challenge;
  } else {
    std::lock_guard lock(mutex_);
    if (auto it = tokens_.find(key_of(scope.list()));
        it != tokens_.end() && it->second.expires > std::chrono::steady_clock::now())
      return it->second;
    challenge = challenge_;
    if (!challenge) return {};
    challenge->values.erase("scope");  // it was another request's
  }
  Credentials credentials = credentials_for(scope);
  if (challenge->scheme == "basic") {
    if (credentials.username.empty()) return {};
    return {basic_authorization(credentials)};
  }
  return fetch_token(*challenge, scope, credentials);
}

HttpResponse Registry::call(const HttpRequest& request, const Scope& scope, const OnBody& on_body) {
  if (base_url().starts_with("https:") && request.url.starts_with("http:"))
    throw Error("cannot follow the registry to '{}': that would leave https", show_url(request.url));
  OnBody accepted;
  if (on_body)
    accepted = [&](const HttpResponse& head) { return head.status == 401 ? Sink{} : on_body(head); };
  // only the registry itself hears a secret: an upload's location may lie elsewhere
  bool own = same_origin(parse_url(request.url), parse_url(base_url()));
  Authorization with = own ? authorization(scope, nullptr) : Authorization{};
  for (int logins = 0;; ++logins) {
    HttpRequest authorised = request;
    if (!with.header.empty()) authorised.headers.emplace_back("Authorization", with.header);
    HttpResponse response = perform(authorised, accepted);
    bool asked = response.status == 401 && same_origin(parse_url(response.url), parse_url(base_url()));
    // Others get to see it only now: a token that is good for one request is its own.
    if (!asked && !with.header.empty()) {
      std::lock_guard lock(mutex_);
      tokens_[key_of(scope.list())] = with;
    }
    if (!asked || logins == most_logins) return response;
    Authorization better = authorization(scope, &response);
    if (better.header.empty() || (better.header == with.header && better.header.starts_with("Basic ")))
      return response;
    with = better;
  }
}

HttpResponse Registry::call_with_retry(const HttpRequest& request, const Scope& scope) {
  for (int tried = 1;; ++tried) {
    try {
      HttpResponse response = call(request, scope);
      for (const std::string& warning : response.all("Warning"))
        if (warning.starts_with("299 ")) debug("{} says: {}", host_, printable(warning));
      if (!is_transient_status(response.status)) return response;
      if (tried == options_.retry.tries) return response;
      wait_before_retry(tried, &response, error_text(response));
    } catch (const HttpError& e) {
      if (!e.transient()) throw;
      wait_before_retry(tried, nullptr, e.message());
    }
  }
}

// Rethrows (or throws) when the tries are used up.
void Registry::wait_before_retry(int tried, const HttpResponse* response, const std::string& reason) {
  std::optional<std::chrono::milliseconds> after;
  if (response)
    if (auto text = response->header("Retry-After"))
      after = parse_retry_after(*text, std::chrono::system_clock::now());
  auto delay = retry_delay(options_.retry, tried, after, random_fraction());
  if (!delay) {
    if (std::current_exception()) throw;
    throw RegistryError(response ? response->status : 0, "{}: {} (tried {} times)", host_, reason, tried);
  }
  info("{}: trying again in {}: {}", host_, human_duration(*delay), reason);
  wait_interruptibly(*delay, options_.cancel);
}

void Registry::refuse(const HttpResponse& response, std::string_view what, const Scope& scope) {
  RegistryError error(response.status, "cannot {}: {}", what, error_text(response));
  if (response.status == 401 || response.status == 403) {
    bool known = !credentials_for(scope).empty();
    if (known)
      error.hint("the stored login may be wrong or lack the right; type: rayctl login {}", host_);
    else
      error.hint("type: rayctl login {}", host_);
  }
  throw error;
}

void Registry::check_login() {
  HttpResponse response = call_with_retry({.url = base_url() + "/v2/"}, {.repository = ""});
  if (response.status != 200) {
    std::string reason = response.status == 401 ? "wrong user name or password" : error_text(response);
    throw RegistryError(response.status, "cannot log in to '{}': {}", host_, reason);
  }
}

Registry::Fetched Registry::manifest(const std::string& repository, const std::string& version) {
  Scope scope{repository, Access::pull};
  HttpResponse response = call_with_retry({.url = url_of(repository, "manifests", version),
                                           .headers = {{"Accept", accepted_manifests}},
                                           .limit = largest_document},
                                          scope);
  std::string name =
      fmt::format("{}/{}{}{}", host_, repository, Digest::is_digest(version) ? "@" : ":", version);
  if (response.status == 404)
    throw RegistryError(404, "cannot find '{}' in the registry: {}", name, error_text(response));
  if (response.status != 200) refuse(response, fmt::format("read '{}'", name), scope);
  Digest digest;
  if (Digest::is_digest(version)) {
    digest = Digest::parse(version);
    if (Digest found = Digest::of(as_bytes(response.body), digest.algorithm()); found != digest)
      throw Error("manifest {} is damaged: its digest is {}", version, found.string());
  } else {
    digest = Digest::of(response.body);
  }
  std::string type = response.content_type();
  if (!media::is_index(type) && !media::is_manifest(type))
    type.clear();  // text/plain and the like: the body says
  Document document = parse_document(response.body, type);
  type = std::visit([](const auto& d) { return d.media_type; }, document);
  size_t size = response.body.size();
  return {std::move(response.body), {.media_type = type, .digest = digest, .size = size}};
}

std::optional<Descriptor> Registry::has_manifest(const std::string& repository, const std::string& version) {
  Scope scope{repository, Access::push};
  HttpResponse response = call_with_retry({.method = "HEAD",
                                           .url = url_of(repository, "manifests", version),
                                           .headers = {{"Accept", accepted_manifests}}},
                                          scope);
  if (response.status != 200) return std::nullopt;
  std::string digest = response.header("Docker-Content-Digest").value_or("");
  if (!Digest::is_digest(digest)) return std::nullopt;
  return Descriptor{.media_type = response.content_type(), .digest = Digest::parse(digest)};
}

}  // namespace rayctl::oci
