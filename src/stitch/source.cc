#include "stitch/source.h"

#include "base/text.h"

namespace rayctl::stitch {

namespace {

std::string_view line_of(std::string_view text, uint32_t line) {
  for (uint32_t i = 1; i < line; ++i) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;  // a byte within a UTF-8 character
}

}  // namespace

std::string excerpt(const Source& source, uint32_t line, uint32_t column) {
  constexpr size_t widest = 100, before = 60;
  std::string_view text = line_of(source.text, line);
  if (text.ends_with('\r')) text.remove_suffix(1);
  size_t caret = std::min<size_t>(column ? column - 1 : 0, text.size());
  size_t from = caret > before ? caret - before : 0;
  while (from > 0 && continues(text[from])) --from;
  size_t to = std::min(text.size(), from + widest);
  while (to < text.size() && continues(text[to])) ++to;
  std::string shown;
  size_t place = 0;
  for (size_t i = from; i < to; ++i) {
    if (i < caret && !continues(text[i])) ++place;
    shown += text[i] == '\t' ? ' ' : text[i];
  }
  const char* cut = from ? "..." : "";
  return fmt::format("  {}{}{}\n  {}^", cut, printable(shown), to < text.size() ? "..." : "",
                     std::string(place + (from ? 3 : 0), ' '));
}

SpecError::SpecError(const Source& source, uint32_t line, uint32_t column, std::string_view message,
                     std::string_view trail)
    : Error("{}:{}:{}: {}\n{}{}", printable(source.name), line, column, message,
            excerpt(source, line, column), trail),
      at_{source.name, line, column} {}

}  // namespace rayctl::stitch
