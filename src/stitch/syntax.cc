#include "stitch/syntax.h"

#include <charconv>
#include <cmath>

#include "stitch/lexer.h"

namespace rayctl::stitch {

uint32_t Symbols::intern(std::string_view name) {
  if (auto found = ids_.find(name); found != ids_.end()) return found->second;
  const std::string& kept = names_.emplace_back(name);
  auto id = static_cast<uint32_t>(names_.size() - 1);
  ids_.emplace(kept, id);
  return id;
}

namespace {

void read_integer(Node& node, const Token& token) {
  std::string_view digits = token.text;
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    digits.remove_prefix(2);
    base = 16;
  }
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), node.integer, base);
  if (error != std::errc{} || end != digits.data() + digits.size())
    throw SpecError(*node.source, token.line, token.column, "the number is too large");
}

void read_real(Node& node, const Token& token) {
  std::string_view digits = token.text;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), node.real);
  if (error != std::errc{} || end != digits.data() + digits.size() || !std::isfinite(node.real))
    throw SpecError(*node.source, token.line, token.column, "the number is out of range");
}

}  // namespace

Parsed parse(Source text, Symbols& symbols, size_t most_nodes) {
  Parsed parsed;
  parsed.source = std::make_unique<Source>(std::move(text));
  Lexer lexer(*parsed.source);
  std::vector<Node*> open;
  for (;;) {
    Token token = lexer.next();
    if (token.kind == Token::Kind::end) break;
    if (token.kind == Token::Kind::close) {
      if (open.empty())
        throw SpecError(*parsed.source, token.line, token.column,
                        "unbalanced parenthesis: ')' closes nothing");
      open.pop_back();
      continue;
    }
    if (parsed.nodes.size() >= most_nodes)
      throw SpecError(*parsed.source, token.line, token.column, "the spec is too large");
    Node& node = parsed.nodes.emplace_back();
    node.line = token.line;
    node.column = token.column;
    node.source = parsed.source.get();
    (open.empty() ? parsed.forms : open.back()->children).push_back(&node);
    switch (token.kind) {
      case Token::Kind::open:
        node.kind = Node::Kind::form;
        open.push_back(&node);
        break;
      case Token::Kind::integer:
        node.kind = Node::Kind::integer;
        read_integer(node, token);
        break;
      case Token::Kind::real:
        node.kind = Node::Kind::real;
        read_real(node, token);
        break;
      case Token::Kind::string:
        node.kind = Node::Kind::string;
        node.text = token.text;
        break;
      default:
        if (token.text == "true" || token.text == "false") {
          node.kind = Node::Kind::boolean;
          node.integer = token.text == "true";
        } else {
          node.kind = Node::Kind::name;
          node.symbol = symbols.intern(token.text);
        }
    }
  }
  if (!open.empty())
    throw SpecError(*parsed.source, open.back()->line, open.back()->column,
                    "unbalanced parenthesis: this one isn't closed");
  return parsed;
}

}  // namespace rayctl::stitch
