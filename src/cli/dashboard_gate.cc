#include "cli/dashboard_gate.h"

#include <algorithm>
#include <vector>

#include "base/encoding.h"
#include "base/error.h"
#include "base/text.h"

namespace rayctl::cli {

namespace {

using Kind = cluster::GateVerdict::Kind;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

struct Field {
  std::string name;  // lower case
  std::string line;  // as it came
  std::string value;
};

struct Head {
  std::string first, target;
  std::vector<Field> fields = {};
  const Field* find(std::string_view name) const {
    for (const Field& field : fields)
      if (field.name == name) return &field;
    return nullptr;
  }
  size_t count(std::string_view name) const {
    return static_cast<size_t>(
        std::count_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; }));
  }
};

// Strict (RFC 9112): anything odd is refused, so that what is judged here is what Ray reads.
std::optional<Head> parse_head(std::string_view text) {
  Head head;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find("\r\n", at);
    if (end == text.npos) return std::nullopt;
    std::string_view line = text.substr(at, end - at);
    at = end + 2;
    if (line.empty() || line.find_first_of(std::string_view("\r\n\0", 3)) != line.npos) return std::nullopt;
    if (head.first.empty()) {
      size_t one = line.find(' '), two = line.rfind(' ');
      if (one == line.npos || one == two || !line.substr(two).starts_with(" HTTP/1.")) return std::nullopt;
      head.target = line.substr(one + 1, two - one - 1);
      if (head.target.empty() || head.target[0] != '/') return std::nullopt;
      head.first = line;
      continue;
    }
    size_t colon = line.find(':');
    if (colon == line.npos || colon == 0 || line.substr(0, colon).find_first_of(" \t") != line.npos)
      return std::nullopt;
    head.fields.push_back(
        {lower(line.substr(0, colon)), std::string(line), std::string(trim(line.substr(colon + 1)))});
  }
  if (head.first.empty()) return std::nullopt;
  return head;
}

// Takes our cookie out; what it held goes to `found`.
std::string without_cookie(const std::string& cookies, const std::string& name, std::string& found) {
  std::string rest;
  for (const std::string& part : split(cookies, ';')) {
    std::string_view cookie = trim(part);
    if (cookie.starts_with(name + "=")) {
      found = cookie.substr(name.size() + 1);
      continue;
    }
    if (!rest.empty()) rest += "; ";
    rest += cookie;
  }
  return rest;
}

}  // namespace

std::string DashboardGate::url() const {
  return fmt::format("http://127.0.0.1:{}/?key={}", port, key);
}

std::string DashboardGate::refusal(int status, std::string_view text) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n"
      "Cache-Control: no-store\r\nConnection: close\r\n\r\n{}\n",
      status,
      status == 403   ? "Forbidden"
      : status == 400 ? "Bad Request"
                      : "Bad Gateway",
      text.size() + 1, text);
}

cluster::GateVerdict DashboardGate::judge(std::string_view first_bytes) const {
  size_t end = first_bytes.find("\r\n\r\n");
  if (end == first_bytes.npos) return {};
  std::optional<Head> head = parse_head(first_bytes.substr(0, end + 2));
  if (!head || head->count("host") != 1)
    return {Kind::answer, refusal(400, "this is no request that a browser makes")};
  // A name that someone else's name server points here would make this port part of their site.
  std::string host = lower(head->find("host")->value);
  if (host != fmt::format("127.0.0.1:{}", port) && host != fmt::format("localhost:{}", port))
    return {Kind::answer, refusal(403, "use the address that 'rayctl dashboard' printed")};
  if (head->find("authorization") || head->find("x-ray-authorization"))
    return {Kind::pass, std::string(first_bytes)};
  std::string cookie = fmt::format("rayctl-{}", port);
  if (head->target.starts_with("/?key=") && equal_secrets(head->target.substr(6), key))
    return {Kind::answer, fmt::format("HTTP/1.1 302 Found\r\nLocation: /\r\nSet-Cookie: {}={}; Path=/; "
                                      "HttpOnly; SameSite=Strict\r\nContent-Length: 0\r\nCache-Control: "
                                      "no-store\r\nConnection: close\r\n\r\n",
                                      cookie, key)};
  std::string shown, cookies;
  if (const Field* field = head->find("cookie")) cookies = without_cookie(field->value, cookie, shown);
  if (!equal_secrets(shown, key))
    return {Kind::answer, refusal(403, "open the whole address that 'rayctl dashboard' printed")};

  bool upgrade = head->find("upgrade") != nullptr;
  std::string text = head->first + "\r\n";
  for (const Field& field : head->fields) {
    if (field.name == "cookie" || (!upgrade && (field.name == "connection" || field.name == "keep-alive")))
      continue;
    text += field.line + "\r\n";
  }
  if (!cookies.empty()) text += "Cookie: " + cookies + "\r\n";
  if (!upgrade) text += "Connection: close\r\n";  // the next request is judged too
  text += "Authorization: Bearer " + token + "\r\n\r\n";
  text += first_bytes.substr(end + 4);
  return {Kind::pass, std::move(text)};
}

}  // namespace rayctl::cli
