// The first pass over a Dockerfile: bytes -> instructions with their flags, text and here-documents.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace rayctl::oci {

// A position that errors begin with: "Dockerfile:12: …".
struct Place {
  std::string file;
  int line = 0;
};

template <class... A>
Error error_at(const Place& place, fmt::format_string<A...> format, A&&... args) {
  Error error(format, std::forward<A>(args)...);
  error.prefix("{}:{}", place.file, place.line);
  return error;
}

// A here-document as written; `body` keeps its tabs even when `strip_tabs` (see stripped_body).
struct Heredoc {
  std::string name;
  std::string body = {};
  bool expand = true;       // false when the delimiter was quoted
  bool strip_tabs = false;  // <<-
  bool operator==(const Heredoc&) const = default;
};

std::string stripped_body(const Heredoc& heredoc);  // without leading tabs when it is a <<- one

// The heredoc that a whole word such as `<<EOF`, `3<<-"EOF"` opens; an empty name when it opens none.
Heredoc parse_heredoc_word(std::string_view word);

// One instruction: continuations joined, comments inside them dropped.
struct RawInstruction {
  int line = 0;
  std::string keyword;                  // upper case
  std::vector<std::string> flags = {};  // "--from=x", quotes and escapes removed
  std::string text = {};                // what follows the flags, without white space around it
  std::vector<Heredoc> heredocs = {};   // in the order of their opening
};

struct LexedDockerfile {
  char escape = '\\';
  std::vector<RawInstruction> instructions = {};
  std::vector<std::string> notes = {};  // for the user: directives without effect, blank continuation lines
};

// Parser directives (escape, syntax, check), byte order mark, "#!" line, continuations, heredocs. Errors
// begin with "FILE:LINE: ". A file without instructions is an error.
LexedDockerfile lex_dockerfile(std::string_view text, const std::string& file);

// Splits "KEYWORD --flag=x rest": also for what ONBUILD holds.
RawInstruction split_instruction(std::string_view line, char escape, const Place& place);

// Opening words of the line that lexing of a heredoc instruction yields; the bodies are empty.
std::vector<Heredoc> opened_heredocs(std::string_view line);

}  // namespace rayctl::oci
