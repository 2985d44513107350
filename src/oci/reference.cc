#include "oci/reference.h"

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view default_registry = "docker.io";
constexpr std::string_view legacy_registry = "index.docker.io";
constexpr std::string_view official = "library/";
constexpr size_t longest_name = 255;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_word(char c) {
  return is_lower(c) || is_upper(c) || is_digit(c) || c == '_';
}

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_path_component(std::string_view text) {
  size_t i = 0;
  auto run = [&] {
    size_t start = i;
    while (i < text.size() && (is_lower(text[i]) || is_digit(text[i]))) ++i;
    return i > start;
  };
  if (!run()) return false;
  while (i < text.size()) {
    if (text[i] == '.') {
      ++i;
    } else if (text[i] == '_') {
      ++i;
      if (i < text.size() && text[i] == '_') ++i;
    } else if (text[i] == '-') {
      while (i < text.size() && text[i] == '-') ++i;
    } else {
      return false;
    }
    if (!run()) return false;
  }
  return true;
}

bool is_host_component(std::string_view text) {
  if (text.empty() || text.front() == '-' || text.back() == '-') return false;
  for (char c : text)
    if (!(is_lower(c) || is_upper(c) || is_digit(c) || c == '-')) return false;
  return true;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  unsigned value = 0;
  for (char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value > 0 && value <= 65535;
}

[[noreturn]] void fail(std::string_view text, std::string_view reason) {
  throw Error("cannot parse image name '{}': {}", printable(text.substr(0, 300)), reason);
}

// The first part is a registry when it can't be a Docker Hub user: as docker decides it.
bool is_registry_part(std::string_view first) {
  if (first == "localhost" || first.find_first_of(".:[") != std::string_view::npos) return true;
  for (char c : first)
    if (is_upper(c)) return true;
  return false;
}

bool is_bare_id(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

bool names_registry(std::string_view text) {
  size_t slash = text.find('/');
  return slash != std::string_view::npos && is_registry_part(text.substr(0, slash));
}

bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > 128 || !is_word(text.front())) return false;
  for (char c : text)
    if (!is_word(c) && c != '.' && c != '-') return false;
  return true;
}

bool is_repository(std::string_view text) {
  if (text.empty() || text.size() > longest_name) return false;
  for (const std::string& part : split(text, '/'))
    if (!is_path_component(part)) return false;
  return true;
}

bool is_registry(std::string_view text) {
  std::string_view host = text;
  if (!text.empty() && text.front() == '[') {
    size_t end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    host = text.substr(1, end - 1);
    if (host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return false;
    std::string_view rest = text.substr(end + 1);
    return rest.empty() || (rest.front() == ':' && is_port(rest.substr(1)));
  }
  if (size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (!is_port(text.substr(colon + 1))) return false;
    host = text.substr(0, colon);
  }
  for (const std::string& part : split(host, '.'))
    if (!is_host_component(part)) return false;
  return true;
}

Reference parse_reference(std::string_view text) {
  if (text.empty()) fail(text, "it is empty");
  if (is_bare_id(text)) fail(text, "64 hex digits are an id, not a name");
  std::string_view rest = text;
  Reference reference;

  if (size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = Digest::parse(rest.substr(at + 1));
    rest = rest.substr(0, at);
  }
  size_t slash = rest.find('/');
  if (slash != std::string_view::npos && is_registry_part(rest.substr(0, slash))) {
    reference.registry = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
    if (!is_registry(reference.registry))
      fail(text,
           fmt::format("'{}' is not a registry: expected HOST or HOST:PORT", printable(reference.registry)));
    if (reference.registry == legacy_registry) reference.registry = default_registry;
  } else {
    reference.registry = default_registry;
  }
  if (size_t colon = rest.find(':'); colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(*reference.tag))
      fail(text, "a tag is 1 to 128 letters, digits, '_', '.' or '-', and starts with neither '.' nor '-'");
  }
  reference.repository = rest;
  if (reference.registry == default_registry && rest.find('/') == std::string_view::npos)
    reference.repository.insert(0, official);
  if (!is_repository(reference.repository)) {
    bool upper = false;
    for (char c : rest) upper |= is_upper(c);
    fail(text, upper ? "a repository is written in lower case"
                     : "a repository is lower-case letters and digits, separated by '/', '.', '_' or '-'");
  }
  if (reference.registry.size() + 1 + reference.repository.size() > longest_name)
    fail(text, "registry and repository are longer than 255 characters");
  if (!reference.tag && !reference.digest) reference.tag = "latest";
  return reference;
}

namespace {

std::string suffix(const Reference& reference) {
  std::string text;
  if (reference.tag) text += ":" + *reference.tag;
  if (reference.digest) text += "@" + reference.digest->string();
  return text;
}

}  // namespace

std::string to_string(const Reference& reference) {
  return reference.registry + "/" + reference.repository + suffix(reference);
}

std::string familiar_repository(const Reference& reference) {
  if (reference.registry != default_registry) return reference.registry + "/" + reference.repository;
  std::string_view name = reference.repository;
  if (name.starts_with(official) && name.find('/', official.size()) == std::string_view::npos)
    name.remove_prefix(official.size());
  return std::string(name);
}

std::string familiar(const Reference& reference) {
  return familiar_repository(reference) + suffix(reference);
}

std::string version_of(const Reference& reference) {
  return reference.digest ? reference.digest->string() : reference.tag.value_or("latest");
}

}  // namespace rayctl::oci
