#include "oci/dockerfile_lexer.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "base/text.h"

namespace rayctl::oci {

namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r';
}

std::string_view skip_space(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

bool is_comment(std::string_view line) {
  line = skip_space(line);
  return !line.empty() && line.front() == '#';
}

// The physical lines, without their "\n" or "\r\n".
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}
  bool next(std::string_view& line) {
    if (position_ >= text_.size()) return false;
    size_t end = text_.find('\n', position_);
    if (end == std::string_view::npos) end = text_.size();
    line = text_.substr(position_, end - position_);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    position_ = end + 1;
    ++number_;
    return true;
  }
  int number() const { return number_; }  // of the line that next() gave

 private:
  std::string_view text_;
  size_t position_ = 0;
  int number_ = 0;
};

// "# name = value" at the very top of the file.
bool directive(std::string_view line, std::string& name, std::string& value) {
  if (line.empty() || line.front() != '#') return false;
  line = skip_space(line.substr(1));
  size_t end = 0;
  while (end < line.size() && std::isalnum(static_cast<unsigned char>(line[end]))) ++end;
  if (end == 0 || std::isdigit(static_cast<unsigned char>(line[0]))) return false;
  name = lower(line.substr(0, end));
  line = skip_space(line.substr(end));
  if (line.empty() || line.front() != '=') return false;
  value = std::string(trim(line.substr(1)));
  return !value.empty();
}

// Removes a trailing escape character (and blanks after it); a doubled one is text.
bool take_continuation(std::string_view& line, char escape) {
  size_t end = line.size();
  while (end > 0 && (line[end - 1] == ' ' || line[end - 1] == '\t')) --end;
  if (end == 0 || line[end - 1] != escape) return false;
  if (end > 1 && line[end - 2] == escape) return false;
  line = line.substr(0, end - 1);
  return true;
}

bool takes_heredocs(const std::string& keyword) {
  return keyword == "RUN" || keyword == "COPY" || keyword == "ADD";
}

// One flag word: quotes group, the escape character takes the next one as it is.
std::string flag_word(std::string_view& text, char escape) {
  std::string word;
  char quote = 0;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    char c = text[i];
    if (quote == 0 && is_space(c)) break;
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (c == escape && quote != '\'') {
      if (++i < text.size()) word += text[i];
    } else {
      word += c;
    }
  }
  text = skip_space(text.substr(std::min(i, text.size())));
  return word;
}

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& file) : lines_(text), file_(file) {}

  LexedDockerfile run() {
    std::string_view line;
    while (lines_.next(line)) {
      if (lines_.number() == 1 && line.substr(0, 2) == "#!") continue;
      if (directives_ && take_directive(line)) continue;
      directives_ = false;
      line = skip_space(line);
      if (line.empty() || line.front() == '#') continue;
      take_instruction(line);
    }
    if (result_.instructions.empty()) throw Error("cannot build from '{}': it has no instructions", file_);
    return std::move(result_);
  }

 private:
  bool take_directive(std::string_view line) {
    std::string name, value;
    if (!directive(line, name, value)) return false;
    if (name != "escape" && name != "syntax" && name != "check") return true;  // a comment like any other
    if (seen_[name]++) throw error_at(here(), "only one {} directive can be used", name);
    if (name == "escape") {
      if (value != "\\" && value != "`")
        throw error_at(here(), "invalid escape directive '{}': it must be \\ or `", printable(value));
      result_.escape = value[0];
    } else if (name == "syntax") {
      result_.notes.push_back(fmt::format("{}:{}: rayctl's own front end is used, not {}", file_,
                                          lines_.number(), printable(value)));
    }
    return true;
  }

  void take_instruction(std::string_view line) {
    int first = lines_.number();
    std::string joined;
    bool blank = false;
    bool more = take_continuation(line, result_.escape);
    joined += line;
    while (more && lines_.next(line)) {
      if (is_comment(line)) continue;
      if (skip_space(line).empty()) {
        blank = true;
        continue;
      }
      more = take_continuation(line, result_.escape);
      joined += line;
      if (joined.size() > (4u << 20)) throw error_at({file_, first}, "the instruction is longer than 4 MiB");
    }
    if (blank)
      result_.notes.push_back(
          fmt::format("{}:{}: blank lines inside a continued instruction were skipped", file_, first));
    if (trim(joined).empty()) return;
    RawInstruction instruction = split_instruction(joined, result_.escape, {file_, first});
    bool heredocs = takes_heredocs(instruction.keyword);
    if (instruction.keyword == "ONBUILD")
      heredocs = takes_heredocs(split_instruction(instruction.text, result_.escape, {file_, first}).keyword);
    if (heredocs)
      for (Heredoc& heredoc : opened_heredocs(instruction.text)) {
        read_body(heredoc, first);
        instruction.heredocs.push_back(std::move(heredoc));
      }
    result_.instructions.push_back(std::move(instruction));
  }

  void read_body(Heredoc& heredoc, int first) {
    std::string_view line;
    while (lines_.next(line)) {
      std::string_view candidate = line;
      if (heredoc.strip_tabs)
        while (!candidate.empty() && candidate.front() == '\t') candidate.remove_prefix(1);
      if (candidate == heredoc.name) return;
      heredoc.body.append(line).push_back('\n');
    }
    throw error_at({file_, first}, "the heredoc <<{} is not closed by a line '{}'", heredoc.name,
                   heredoc.name);
  }

  Place here() const { return {file_, lines_.number()}; }

  Lines lines_;
  const std::string& file_;
  LexedDockerfile result_;
  bool directives_ = true;
  std::map<std::string, int> seen_;
};

// Words of a shell-like line with their quotes and escapes kept.
std::vector<std::string> raw_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (quote == 0 && is_space(c)) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
      continue;
    }
    word += c;
    if (c == '\\' && quote != '\'' && i + 1 < line.size()) {
      word += line[++i];
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
  }
  if (quote != 0) return {};  // an open quote: it is the shell's business
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

}  // namespace

std::string stripped_body(const Heredoc& heredoc) {
  if (!heredoc.strip_tabs) return heredoc.body;
  std::string result;
  bool at_start = true;
  for (char c : heredoc.body) {
    if (at_start && c == '\t') continue;
    at_start = c == '\n';
    result += c;
  }
  return result;
}

Heredoc parse_heredoc_word(std::string_view word) {
  while (!word.empty() && std::isdigit(static_cast<unsigned char>(word.front()))) word.remove_prefix(1);
  if (word.substr(0, 2) != "<<") return {};
  word.remove_prefix(2);
  Heredoc heredoc;
  if (!word.empty() && word.front() == '-') {
    heredoc.strip_tabs = true;
    word.remove_prefix(1);
  }
  char quote = 0;
  for (size_t i = 0; i < word.size(); ++i) {
    char c = word[i];
    if (c == '<' || (quote == 0 && is_space(c))) return {};
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
      heredoc.expand = false;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < word.size()) {
      heredoc.name += word[++i];
      heredoc.expand = false;
    } else {
      heredoc.name += c;
    }
  }
  if (quote != 0) return {};
  return heredoc;
}

std::vector<Heredoc> opened_heredocs(std::string_view line) {
  std::vector<Heredoc> heredocs;
  for (const std::string& word : raw_words(line))
    if (Heredoc heredoc = parse_heredoc_word(word); !heredoc.name.empty())
      heredocs.push_back(std::move(heredoc));
  return heredocs;
}

RawInstruction split_instruction(std::string_view line, char escape, const Place& place) {
  RawInstruction result;
  result.line = place.line;
  line = skip_space(line);
  size_t end = 0;
  while (end < line.size() && !is_space(line[end])) ++end;
  result.keyword = upper(line.substr(0, end));
  line = skip_space(line.substr(end));
  while (line.substr(0, 2) == "--") {
    std::string word = flag_word(line, escape);
    if (word == "--") break;
    result.flags.push_back(std::move(word));
  }
  result.text = std::string(trim(line));
  return result;
}

LexedDockerfile lex_dockerfile(std::string_view text, const std::string& file) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  if (text.find('\0') != std::string_view::npos)
    throw Error("cannot build from '{}': it holds a NUL byte, so it is no text", file);
  return Lexer(text, file).run();
}

}  // namespace rayctl::oci
