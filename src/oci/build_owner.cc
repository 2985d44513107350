#include "oci/build_owner.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

uint32_t number(std::string_view text, std::string_view what) {
  uint32_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
    throw Error("the {} '{}' is no number from 0 to 4294967294", what, printable(text));
  return value;
}

// The fields of the line of `name`: passwd and group both begin "name:password:id:".
std::optional<std::vector<std::string>> entry(std::string_view file, std::string_view name) {
  for (const std::string& line : split(file, '\n')) {
    std::vector<std::string> fields = split(line, ':');
    if (fields.size() >= 3 && fields[0] == name) return fields;
  }
  return std::nullopt;
}

}  // namespace

Owner parse_owner(std::string_view text, std::string_view passwd, std::string_view group) {
  if (text.empty()) return {};
  size_t colon = text.find(':');
  std::string_view user_name = text.substr(0, colon);
  Owner owner;
  if (all_digits(user_name)) {
    owner.uid = owner.gid = number(user_name, "user");
  } else if (!user_name.empty()) {
    auto fields = entry(passwd, user_name);
    if (!fields || fields->size() < 4)
      throw Error("the image has no user '{}' in /etc/passwd", printable(user_name));
    owner.uid = number((*fields)[2], "user");
    owner.gid = number((*fields)[3], "group");
  }
  if (colon == std::string_view::npos) return owner;
  std::string_view group_name = text.substr(colon + 1);
  if (group_name.empty()) {
    return owner;
  } else if (all_digits(group_name)) {
    owner.gid = number(group_name, "group");
  } else {
    auto fields = entry(group, group_name);
    if (!fields) throw Error("the image has no group '{}' in /etc/group", printable(group_name));
    owner.gid = number((*fields)[2], "group");
  }
  return owner;
}

namespace {

[[noreturn]] void bad_mode(std::string_view text) {
  throw Error("'{}' is no mode: write octal digits up to 7777, or symbols such as u=rwX,go=rX",
              printable(text));
}

}  // namespace

ModeChange::ModeChange(std::string_view text) {
  if (all_digits(text)) {
    unsigned value = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
    if (code != std::errc() || end != text.data() + text.size() || value > 07777) bad_mode(text);
    absolute_ = static_cast<int>(value);
    return;
  }
  for (const std::string& part : split(text, ',')) {
    size_t i = 0;
    Clause who;
    for (; i < part.size() && std::string_view("ugoa").find(part[i]) != std::string_view::npos; ++i) {
      char c = part[i];
      if (c == 'u' || c == 'a') who.who |= 0700, who.set_special[0] = true;
      if (c == 'g' || c == 'a') who.who |= 0070, who.set_special[1] = true;
      if (c == 'o' || c == 'a') who.who |= 0007, who.set_special[2] = true;
    }
    if (i == 0) who.who = 0777, who.set_special[0] = who.set_special[1] = who.set_special[2] = true;
    if (i == part.size()) bad_mode(text);
    while (i < part.size()) {
      Clause clause = who;
      clause.operation = part[i++];
      if (std::string_view("+-=").find(clause.operation) == std::string_view::npos) bad_mode(text);
      while (i < part.size() && std::string_view("+-=").find(part[i]) == std::string_view::npos)
        clause.permissions += part[i++];
      bool copies = clause.permissions.size() == 1 &&
                    std::string_view("ugo").find(clause.permissions[0]) != std::string_view::npos;
      if (!copies && clause.permissions.find_first_not_of("rwxXst") != std::string::npos) bad_mode(text);
      clauses_.push_back(std::move(clause));
    }
  }
}

mode_t ModeChange::apply(mode_t mode, Target target) const {
  mode &= 07777;
  if (absolute_ >= 0) return static_cast<mode_t>(absolute_);
  for (const Clause& clause : clauses_) {
    mode_t bits = 0, special = 0;
    for (char c : clause.permissions) {
      if (c == 'r') bits |= 0444;
      if (c == 'w') bits |= 0222;
      if (c == 'x' || (c == 'X' && (target == Target::directory || (mode & 0111)))) bits |= 0111;
      if (c == 's') special |= (clause.set_special[0] ? 04000 : 0) | (clause.set_special[1] ? 02000 : 0);
      if (c == 't') special |= 01000;
      if (c == 'u') bits |= (mode >> 6 & 7) * 0111;
      if (c == 'g') bits |= (mode >> 3 & 7) * 0111;
      if (c == 'o') bits |= (mode & 7) * 0111;
    }
    bits &= clause.who;
    if (clause.operation == '+') mode |= bits | special;
    if (clause.operation == '-') mode &= ~(bits | special);
    if (clause.operation == '=') {
      mode_t cleared = clause.who;
      if (target == Target::file)
        cleared |= (clause.set_special[0] ? 04000 : 0) | (clause.set_special[1] ? 02000 : 0);
      mode = (mode & ~cleared) | bits | special;
    }
  }
  return mode;
}

}  // namespace rayctl::oci
