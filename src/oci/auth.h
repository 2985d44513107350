// How registries ask who we are (RFC 7235, distribution's token specification), and what we answer.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/http.h"

namespace rayctl::oci {

// One challenge of a WWW-Authenticate header.
struct Challenge {
  std::string scheme;                         // lower case: "bearer", "basic"
  std::map<std::string, std::string> values;  // keys in lower case

  std::string value(const std::string& key) const;
};

// A header may hold several challenges; what can't be read is left out.
std::vector<Challenge> parse_challenges(std::string_view header);

struct Credentials {
  std::string username = {}, password = {};
  std::string identity_token = {};  // an OAuth2 refresh token
  std::string registry_token = {};  // a bearer token, ready to use

  bool empty() const {
    return username.empty() && password.empty() && identity_token.empty() && registry_token.empty();
  }
};

std::string basic_authorization(const Credentials& credentials);  // "Basic …"

// Where tokens come from is the registry's word: credentials go only to https (or to the registry itself),
// and never to an address inside our network or cloud (CVE class: SSRF to 169.254.169.254). Throws.
void validate_realm(const std::string& realm, const std::string& registry_url);

// The requests that may give a token, to be tried in order.
std::vector<HttpRequest> token_requests(const Challenge& challenge, const std::vector<std::string>& scopes,
                                        const Credentials& credentials);

struct AccessToken {
  std::string token;
  std::chrono::seconds lifetime{60};
};
AccessToken parse_token(std::string_view json);

// "repository:NAME:pull"; the order is what some servers look at: the first scope is the one that is needed
// now.
std::string pull_scope(std::string_view repository);
std::string push_scope(std::string_view repository);

}  // namespace rayctl::oci
