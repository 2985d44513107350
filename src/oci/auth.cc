#include "oci/auth.h"

#include <algorithm>
#include <cctype>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::oci {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_token_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class ChallengeParser {
 public:
  explicit ChallengeParser(std::string_view text) : text_(text) {}

  std::vector<Challenge> parse() {
    std::vector<Challenge> found;
    while (skip_separators(), at_ < text_.size()) {
      std::string word = token();
      if (word.empty()) {
        ++at_;  // nothing that a challenge may hold: go on behind it
        continue;
      }
      size_t after = at_;
      blanks();
      if (!found.empty() && peek() == '=' && !is_token68_end()) {
        ++at_;
        blanks();
        std::string value = peek() == '"' ? quoted() : token68();
        found.back().values.emplace(lower(word), std::move(value));
      } else {
        at_ = after;
        found.push_back({lower(word), {}});
        token68_credentials();
      }
    }
    return found;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void blanks() {
    while (peek() == ' ' || peek() == '\t') ++at_;
  }
  void skip_separators() {
    while (peek() == ' ' || peek() == '\t' || peek() == ',') ++at_;
  }
  std::string token() {
    size_t start = at_;
    while (at_ < text_.size() && is_token_char(text_[at_])) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }
  // unquoted values with '/', ':' or '=' are not in the grammar, and are sent
  std::string token68() {
    size_t start = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ' ' && text_[at_] != '\t') ++at_;
    return std::string(text_.substr(start, at_ - start));
  }
  bool is_token68_end() const { return at_ + 1 >= text_.size() || text_[at_ + 1] == '='; }
  // "Negotiate abc==": the blob that may stand in place of parameters is skipped
  void token68_credentials() {
    size_t start = at_;
    blanks();
    size_t end = at_;
    while (end < text_.size() && (is_token_char(text_[end]) || text_[end] == '/')) ++end;
    size_t pad = end;
    while (pad < text_.size() && text_[pad] == '=') ++pad;
    bool closed = pad == text_.size() || text_[pad] == ',';
    at_ = end > at_ && closed ? pad : start;
  }
  std::string quoted() {
    std::string value;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      value += text_[at_];
    }
    if (at_ < text_.size()) ++at_;
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

std::string form(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string text;
  for (const auto& [key, value] : fields)
    text += (text.empty() ? "" : "&") + percent_encode(key) + "=" + percent_encode(value);
  return text;
}

std::string joined(const std::vector<std::string>& scopes) {
  std::string text;
  for (const std::string& scope : scopes) text += (text.empty() ? "" : " ") + scope;
  return text;
}

}  // namespace

std::string Challenge::value(const std::string& key) const {
  auto it = values.find(key);
  return it == values.end() ? "" : it->second;
}

std::vector<Challenge> parse_challenges(std::string_view header) {
  return ChallengeParser(header.substr(0, 16 << 10)).parse();
}

std::string basic_authorization(const Credentials& credentials) {
  return "Basic " + to_base64(credentials.username + ":" + credentials.password);
}

void validate_realm(const std::string& realm, const std::string& registry_url) {
  Url to = parse_url(realm), registry = parse_url(registry_url);
  auto refuse = [&](std::string_view reason) {
    throw Error("cannot log in at '{}' as the registry wants: {}", show_url(realm), reason);
  };
  if (to.has_user) refuse("the address holds a user name");
  bool own = to.host == registry.host;
  if (to.scheme != "https" && !(own && registry.scheme == "http")) refuse("it is not https");
  if (!own && (is_private_address(to.host) || is_loopback_host(to.host)) && !is_loopback_host(registry.host))
    refuse("it is an address of this network");
}

std::vector<HttpRequest> token_requests(const Challenge& challenge, const std::vector<std::string>& scopes,
                                        const Credentials& credentials) {
  std::string realm = challenge.value("realm"), service = challenge.value("service");
  std::vector<HttpRequest> requests;
  if (!credentials.identity_token.empty()) {
    std::string body = form({{"grant_type", "refresh_token"},
                             {"refresh_token", credentials.identity_token},
                             {"service", service},
                             {"scope", joined(scopes)},
                             {"client_id", "rayctl"}});
    requests.push_back({.method = "POST",
                        .url = realm,
                        .headers = {{"Content-Type", "application/x-www-form-urlencoded"}},
                        .body = body_of(body),
                        .limit = 1 << 20});
  }
  std::string url = realm;
  if (!service.empty()) url = add_query(url, "service", service);
  for (const std::string& scope : scopes) url = add_query(url, "scope", scope);
  HttpRequest get{.url = url, .limit = 1 << 20};
  if (!credentials.username.empty() && !credentials.password.empty())
    get.headers.emplace_back("Authorization", basic_authorization(credentials));
  // a registry that hands out refresh tokens answers nothing useful to a plain GET
  if (credentials.identity_token.empty() || !credentials.password.empty()) requests.push_back(std::move(get));
  return requests;
}

AccessToken parse_token(std::string_view text) {
  Json json = Json::parse(text, "token", 8);
  std::string token = json.string_or("token", "");
  if (token.empty()) token = json.string_or("access_token", "");
  if (token.empty()) throw Error("token: neither 'token' nor 'access_token' is there");
  for (char c : token)
    if (c < 0x21 || c > 0x7e) throw Error("token: it has characters that no header may have");
  uint64_t seconds = json.size_or("expires_in", 60);
  return {std::move(token), std::chrono::seconds(std::clamp<uint64_t>(seconds, 60, 30 * 24 * 3600))};
}

std::string pull_scope(std::string_view repository) {
  return fmt::format("repository:{}:pull", repository);
}

std::string push_scope(std::string_view repository) {
  return fmt::format("repository:{}:pull,push", repository);
}

}  // namespace rayctl::oci
