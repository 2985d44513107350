#include "base/escapes.h"

namespace rayctl {

namespace {

// The length of the escape sequence that `text` begins with, 0 when it is none or isn't whole.
size_t escape_length(std::string_view text) {
  auto among = [&](size_t i, char first, char last) {
    return i < text.size() && text[i] >= first && text[i] <= last;
  };
  if (text.size() < 2 || text[0] != '\033') return 0;
  size_t i = 2;
  if (text[1] == '[') {  // CSI: parameters, intermediate bytes, a final byte
    while (among(i, '0', '?')) ++i;
    while (among(i, ' ', '/')) ++i;
    return among(i, '@', '~') ? i + 1 : 0;
  }
  if (text[1] == ']' || text[1] == 'P' || text[1] == 'X' || text[1] == '^' || text[1] == '_') {  // a string
    for (; i < text.size(); ++i) {
      if (text[i] == '\a') return i + 1;
      if (text[i] == '\033') return i + 1 < text.size() && text[i + 1] == '\\' ? i + 2 : 0;
    }
    return 0;
  }
  for (i = 1; among(i, ' ', '/');) ++i;
  return among(i, '0', '~') ? i + 1 : 0;
}

}  // namespace

std::string without_escapes(std::string_view text) {
  std::string left;
  while (!text.empty()) {
    size_t length = escape_length(text);
    if (length == 0) left += text[length++];
    text.remove_prefix(length);
  }
  return left;
}

}  // namespace rayctl
