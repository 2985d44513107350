#include "base/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <cctype>
#include <memory>

#include "base/error.h"
#include "base/text.h"

namespace rayctl {

namespace {

using Handle = std::unique_ptr<CURLU, decltype([](CURLU* u) { curl_url_cleanup(u); })>;

Handle parse_handle(const std::string& text) {
  Handle handle{curl_url()};
  if (!handle) throw Error("cannot parse a URL: out of memory");
  if (CURLUcode rc = curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0); rc != CURLUE_OK)
    throw Error("cannot parse URL '{}': {}", show_url(text), curl_url_strerror(rc));
  return handle;
}

std::string part(CURLU* handle, CURLUPart which, unsigned flags = 0) {
  char* value = nullptr;
  if (curl_url_get(handle, which, &value, flags) != CURLUE_OK) return "";
  std::string text = value;
  curl_free(value);
  return text;
}

std::string_view without_brackets(std::string_view host) {
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') return host.substr(1, host.size() - 2);
  return host;
}

bool is_private_v4(uint32_t address) {  // host byte order
  auto in = [&](uint32_t net, int bits) { return (address ^ net) >> (32 - bits) == 0; };
  return in(0, 8) || in(0x0a000000, 8) || in(0x64400000, 10) || in(0x7f000000, 8) || in(0xa9fe0000, 16) ||
         in(0xac100000, 12) || in(0xc0a80000, 16) || in(0xe0000000, 3);
}

}  // namespace

Url parse_url(std::string_view text) {
  Handle handle = parse_handle(std::string(text));
  Url url{.scheme = part(handle.get(), CURLUPART_SCHEME),
          .host = part(handle.get(), CURLUPART_HOST),
          .path = part(handle.get(), CURLUPART_PATH),
          .query = part(handle.get(), CURLUPART_QUERY)};
  for (char& c : url.host) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (url.scheme != "http" && url.scheme != "https")
    throw Error("cannot use URL '{}': only http and https are spoken", show_url(std::string(text)));
  url.port = static_cast<uint16_t>(std::stoul(part(handle.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT)));
  url.has_user = !part(handle.get(), CURLUPART_USER).empty();
  return url;
}

std::string resolve_url(const std::string& base, const std::string& location) {
  Handle handle = parse_handle(base);
  if (CURLUcode rc = curl_url_set(handle.get(), CURLUPART_URL, location.c_str(), 0); rc != CURLUE_OK)
    throw Error("cannot follow to '{}': {}", show_url(location), curl_url_strerror(rc));
  curl_url_set(handle.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return part(handle.get(), CURLUPART_URL);
}

bool same_origin(const Url& a, const Url& b) {
  return a.scheme == b.scheme && a.host == b.host && a.port == b.port;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x80 && std::isalnum(byte)) || c == '-' || c == '.' || c == '_' || c == '~')
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", byte);
  }
  return encoded;
}

std::string add_query(std::string url, std::string_view key, std::string_view value) {
  url += url.find('?') == std::string::npos ? '?' : '&';
  return url + percent_encode(key) + "=" + percent_encode(value);
}

std::string show_url(const std::string& url) {
  std::string shown = url.substr(0, url.find_first_of("?#"));
  if (size_t scheme = shown.find("://"); scheme != std::string::npos) {
    size_t host = scheme + 3, slash = shown.find('/', host);
    size_t at = shown.substr(0, slash).rfind('@');
    if (at != std::string::npos && at > host) shown.erase(host, at + 1 - host);
  }
  return printable(shown.substr(0, 300));
}

bool is_loopback_host(std::string_view host) {
  std::string plain(without_brackets(host));
  if (plain == "localhost") return true;
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, plain.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return inet_pton(AF_INET6, plain.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool is_private_address(std::string_view host) {
  std::string plain(without_brackets(host));
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, plain.c_str(), &v4) == 1) return is_private_v4(ntohl(v4.s_addr));
  if (inet_pton(AF_INET6, plain.c_str(), &v6) != 1) return plain == "localhost";
  if (IN6_IS_ADDR_V4MAPPED(&v6))
    return is_private_v4(static_cast<uint32_t>(v6.s6_addr[12]) << 24 |
                         static_cast<uint32_t>(v6.s6_addr[13]) << 16 |
                         static_cast<uint32_t>(v6.s6_addr[14]) << 8 | v6.s6_addr[15]);
  return IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_LINKLOCAL(&v6) ||
         IN6_IS_ADDR_MULTICAST(&v6) || (v6.s6_addr[0] & 0xfe) == 0xfc;
}

}  // namespace rayctl
