#include "net/resolv_conf.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

constexpr size_t server_limit = 3;  // MAXNS of resolv.conf(5)
constexpr size_t file_limit = 64 << 10;
constexpr const char* systemd_file = "/run/systemd/resolve/resolv.conf";

}  // namespace

std::vector<Upstream> parse_resolv_conf(std::string_view text) {
  std::vector<Upstream> servers;
  while (!text.empty() && servers.size() < server_limit) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line = trim(line.substr(0, line.find_first_of("#;")));
    constexpr std::string_view keyword = "nameserver";
    if (!line.starts_with(keyword) || line.size() <= keyword.size()) continue;
    if (line[keyword.size()] != ' ' && line[keyword.size()] != '\t') continue;
    std::string_view value = trim(line.substr(keyword.size()));
    value = value.substr(0, value.find_first_of(" \t"));
    if (value.find('%') != std::string_view::npos) continue;
    try {
      servers.push_back({parse_address(value), 53});
    } catch (const Error&) {  // as the C library: a line that says nothing is no reason to stop
    }
  }
  return servers;
}

Upstream parse_upstream(std::string_view text) {
  Upstream upstream;
  size_t hash = text.find('#');
  if (hash != std::string_view::npos) {
    std::string_view digits = text.substr(hash + 1);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), upstream.port);
    if (error != std::errc() || end != digits.data() + digits.size() || upstream.port == 0)
      throw Error("cannot read '{}': the port is not a number of 1 to 65535", printable(text));
    text = text.substr(0, hash);
  }
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  upstream.address = parse_address(text);
  return upstream;
}

std::string to_string(const Upstream& upstream) {
  std::string text = to_string(upstream.address);
  return upstream.port == 53 ? text : fmt::format("{}#{}", text, upstream.port);
}

std::vector<Upstream> read_upstreams(const std::string& path) {
  auto text = read_file_if_exists(path, file_limit);
  std::vector<Upstream> servers = text ? parse_resolv_conf(*text) : std::vector<Upstream>{};
  Upstream stub{parse_address("127.0.0.53"), 53};
  if (std::find(servers.begin(), servers.end(), stub) != servers.end()) {
    if (auto behind = read_file_if_exists(systemd_file, file_limit)) {
      auto real = parse_resolv_conf(*behind);
      if (!real.empty()) return real;
    }
  }
  if (servers.empty() && !text) servers.push_back({parse_address("127.0.0.1"), 53});
  return servers;
}

}  // namespace rayctl::net
