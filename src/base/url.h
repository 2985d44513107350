// URLs, parsed and resolved by libcurl's own parser: what is checked is what is fetched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rayctl {

struct Url {
  std::string scheme, host;  // lower case; an IPv6 host in brackets
  uint16_t port = 0;         // the scheme's own when the URL has none
  std::string path;          // begins with '/'
  std::string query;         // without '?'
  bool has_user = false;
};

Url parse_url(std::string_view text);  // http and https only
// What a Location header means for the URL that it answers.
std::string resolve_url(const std::string& base, const std::string& location);
bool same_origin(const Url& a, const Url& b);
std::string add_query(std::string url, std::string_view key, std::string_view value);
std::string percent_encode(std::string_view text);  // all but unreserved characters (RFC 3986)
std::string show_url(const std::string& url);       // without query and user: those may be secrets

bool is_loopback_host(std::string_view host);  // localhost, 127.0.0.0/8, ::1; with or without brackets
// An IP literal that no public service has: private, link-local, loopback, multicast (RFC 6890).
bool is_private_address(std::string_view host);

}  // namespace rayctl
