#include "stitch/evaluator.h"

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "stitch/import.h"

namespace rayctl::stitch {

// One level of nesting, for as long as it lives.
struct Evaluator::Deeper {
  Deeper(Evaluator& evaluator, const Node& node) : of(evaluator), outer(evaluator.current_) {
    of.current_ = &node;
    ++of.depth_;
    of.heap.check_depth(of.depth_, of.options_.limits.depth);
  }
  ~Deeper() {
    --of.depth_;
    of.current_ = outer;
  }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

  Evaluator& of;
  const Node* outer;
};

Evaluator::Evaluator(const Options& options)
    : heap(options.limits.memory, options.limits.steps,
           [this](std::string_view what) {
             std::string message =
                 what == "memory"  ? fmt::format("the spec needs more than {} of memory",
                                                 human_size(options_.limits.memory))
                 : what == "steps" ? fmt::format("the spec takes more than {} steps", options_.limits.steps)
                                   : "the spec nests too deeply";
             if (!current_) throw Error("{}", message);
             fail(*current_, message);
           }),
      options_(options) {
  for (auto table : {special_forms(), value_builtins(), list_builtins(), container_builtins(),
                     network_builtins(), machine_builtins()})
    for (const Builtin& builtin : table) {
      symbols.intern(builtin.name);
      builtins_.push_back(&builtin);
    }
  deployment.name_space.clear();
}

// --- messages ---

void Evaluator::fail(const Node& node, std::string_view message) const {
  constexpr size_t most_shown = 5;
  std::string trail;
  size_t shown = 0;
  for (auto frame = calls_.rbegin(); frame != calls_.rend() && shown < most_shown; ++frame, ++shown)
    trail +=
        fmt::format("\n  in {}, called at {}",
                    frame->function->name.empty() ? "a lambda" : fmt::format("'{}'", frame->function->name),
                    printable(to_string(position(*frame->form))));
  throw SpecError(*node.source, node.line, node.column, message, trail);
}

Position Evaluator::position(const Node& node) const {
  return {node.source->name, node.line, node.column};
}

const Node& Evaluator::argument_node(const Call& call, size_t i) const {
  return call.direct && i + 1 < call.form->children.size() ? *call.form->children[i + 1] : *call.form;
}

void Evaluator::mismatch(const Call& call, size_t i, const char* wanted) const {
  fail(call, i, "'{}' takes {} here, not {}: {}", call.builtin->name, wanted, type_name(call[i].kind),
       show(call[i]));
}

int64_t Evaluator::integer(const Call& call, size_t i) const {
  if (!call[i].is(Value::Kind::integer)) mismatch(call, i, "an integer");
  return call[i].integer;
}

double Evaluator::number(const Call& call, size_t i) const {
  if (call[i].is(Value::Kind::integer)) return static_cast<double>(call[i].integer);
  if (!call[i].is(Value::Kind::real)) mismatch(call, i, "a number");
  return call[i].real;
}

std::string_view Evaluator::string(const Call& call, size_t i) const {
  if (!call[i].is(Value::Kind::string)) mismatch(call, i, "a string");
  return call[i].text();
}

const List& Evaluator::list(const Call& call, size_t i) const {
  if (!call[i].is(Value::Kind::list)) mismatch(call, i, "a list");
  return *call[i].list;
}

const Map& Evaluator::map(const Call& call, size_t i) const {
  if (!call[i].is(Value::Kind::map)) mismatch(call, i, "an hmap");
  return *call[i].map;
}

// --- names ---

const Builtin* Evaluator::builtin_named(uint32_t symbol) const {
  return symbol < builtins_.size() ? builtins_[symbol] : nullptr;
}

const Binding* Evaluator::find(uint32_t symbol, const Binding* from, const Binding* to) {
  uint64_t hops = 0;
  for (; from != to; from = from->next) {
    if (from->symbol == symbol) return from;
    if (++hops % 32 == 0) heap.step();
  }
  return nullptr;
}

Value Evaluator::lookup(const Node& name, const Scope& scope) {
  bool bound = name.symbol < bound_.size() && bound_[name.symbol];
  if (bound)
    if (const Binding* found = find(name.symbol, scope.head, nullptr)) return found->value;
  if (const Builtin* builtin = builtin_named(name.symbol)) {
    Value value;
    value.kind = Value::Kind::builtin;
    value.builtin = builtin;
    return value;
  }
  const std::string& text = symbols.name(name.symbol);
  std::string near = nearest_name(text, scope);
  fail(name, fmt::format("unknown name '{}'{}", printable(text),
                         near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near)));
}

std::string Evaluator::nearest_name(const std::string& name, const Scope& scope) const {
  constexpr int most = 2000;
  if (name.size() < 4) return "";  // everything is near to a short name
  std::vector<std::string> known;
  for (const Builtin* builtin : builtins_) known.push_back(builtin->name);
  int left = most;
  for (const Binding* binding = scope.head; binding && left > 0; binding = binding->next, --left)
    known.push_back(symbols.name(binding->symbol));
  return nearest(name, known);
}

void Evaluator::bind(uint32_t symbol, const Value& value, Scope& scope) {
  if (bound_.size() <= symbol) bound_.resize(symbol + 64, false);
  bound_[symbol] = true;
  scope.head = heap.bind(symbol, value, scope.head);
}

void Evaluator::define(uint32_t symbol, const Value& value, const Node& at, Scope& scope) {
  if (find(symbol, scope.head, scope.base))
    fail(at, fmt::format("cannot define '{}': it is defined already (set changes it)",
                         printable(symbols.name(symbol))));
  bind(symbol, value, scope);
  if (calls_.empty() && importing_.size() == 1) defined_at_[symbol] = &at;
}

void Evaluator::reassign(uint32_t symbol, const Value& value, const Node& at, Scope& scope) {
  if (!find(symbol, scope.head, scope.base))
    fail(at,
         fmt::format("cannot set '{}': it is not defined in this scope", printable(symbols.name(symbol))));
  bind(symbol, value, scope);
}

// --- forms ---

Value Evaluator::eval(const Node& node, Scope& scope) {
  heap.step();
  switch (node.kind) {
    case Node::Kind::integer:
      return Value::of(node.integer);
    case Node::Kind::real:
      return Value::of(node.real);
    case Node::Kind::boolean:
      return Value::of_bool(node.integer != 0);
    case Node::Kind::name:
      return lookup(node, scope);
    case Node::Kind::form:
      return eval_form(node, scope);
    case Node::Kind::string:
      break;
  }
  if (is_placeholder(node.text) &&
      std::find(placeholders_.begin(), placeholders_.end(), &node) == placeholders_.end())
    placeholders_.push_back(&node);
  return heap.literal(node.text);
}

Value Evaluator::eval_body(const Node& form, size_t first, Scope& scope) {
  Value last;
  for (size_t i = first; i < form.children.size(); ++i) last = eval(*form.children[i], scope);
  return last;
}

// A name that a spec has given to something that isn't a function (`(define githubKey "me")`) still calls its
// builtin.
Value Evaluator::head_of(const Node& form, Scope& scope) {
  const Node& head = *form.children[0];
  Value value = eval(head, scope);
  if (value.callable() || head.kind != Node::Kind::name) return value;
  if (const Builtin* builtin = builtin_named(head.symbol)) {
    value.kind = Value::Kind::builtin;
    value.builtin = builtin;
  }
  return value;
}

void Evaluator::check_count(const Builtin& builtin, size_t count, const Node& form) const {
  if (count >= builtin.fewest && count <= builtin.most) return;
  std::string wanted = builtin.most == builtin.fewest ? fmt::format("{}", builtin.fewest)
                       : builtin.most == any_number   ? fmt::format("{} or more", builtin.fewest)
                                                      : fmt::format("{} to {}", builtin.fewest, builtin.most);
  fail(form, fmt::format("'{}' takes {} argument{}, not {}", builtin.name, wanted, wanted == "1" ? "" : "s",
                         count));
}

Value Evaluator::eval_form(const Node& form, Scope& scope) {
  Deeper deeper(*this, form);
  if (form.children.empty()) fail(form, "a form begins with a function: '()' has none (write (list))");
  Value head = head_of(form, scope);
  size_t count = form.children.size() - 1;
  if (head.is(Value::Kind::builtin) && head.builtin->special) {
    check_count(*head.builtin, count, form);
    return head.builtin->special(*this, form, scope);
  }
  if (!head.callable())
    fail(form, fmt::format("a form begins with a function, not {}: {}", type_name(head.kind), show(head)));
  List arguments;
  arguments.reserve(count);
  for (size_t i = 1; i <= count; ++i) arguments.push_back(eval(*form.children[i], scope));
  if (head.is(Value::Kind::function)) return invoke(*head.function, std::move(arguments), form);
  check_count(*head.builtin, count, form);
  return head.builtin->eager(*this, Call{head.builtin, &form, std::move(arguments), true});
}

Value Evaluator::call(const Value& function, List arguments, const Node& form) {
  heap.step(1 + arguments.size());
  if (function.is(Value::Kind::function)) return invoke(*function.function, std::move(arguments), form);
  if (!function.is(Value::Kind::builtin))
    fail(form,
         fmt::format("a function is needed here, not {}: {}", type_name(function.kind), show(function)));
  const Builtin& builtin = *function.builtin;
  if (!builtin.eager) fail(form, fmt::format("'{}' can't be passed as a function", builtin.name));
  check_count(builtin, arguments.size(), form);
  Deeper deeper(*this, form);
  return builtin.eager(*this, Call{&builtin, &form, std::move(arguments), false});
}

Value Evaluator::invoke(const Function& function, List arguments, const Node& form) {
  if (arguments.size() != function.parameters.size())
    fail(form, fmt::format(
                   "{} takes {} argument{}, not {}",
                   function.name.empty() ? "the lambda" : fmt::format("'{}'", printable(function.name)),
                   function.parameters.size(), function.parameters.size() == 1 ? "" : "s", arguments.size()));
  Deeper deeper(*this, form);
  Scope inside{function.captured, function.captured};
  for (size_t i = 0; i < arguments.size(); ++i) bind(function.parameters[i], arguments[i], inside);
  calls_.push_back({&function, &form});
  Value value = eval_body(*function.form, function.body, inside);
  calls_.pop_back();
  return value;
}

Value Evaluator::make_function(const Node& parameters, size_t first, const Node& form, size_t body,
                               const Scope& scope, std::string name) {
  Function function{&form, body, {}, scope.head, std::move(name)};
  for (size_t i = first; i < parameters.children.size(); ++i) {
    const Node& parameter = *parameters.children[i];
    if (parameter.kind != Node::Kind::name) fail(parameter, "a parameter is a name");
    function.parameters.push_back(parameter.symbol);
  }
  return heap.function(std::move(function));
}

// --- modules ---

void Evaluator::eval_forms(std::span<const Node* const> forms, Scope& scope) {
  bool outer = at_top_;
  at_top_ = true;
  static constexpr std::string_view import_name = "import";
  for (const Node* form : forms) {
    bool imports = form->kind == Node::Kind::form && !form->children.empty() &&
                   form->children[0]->kind == Node::Kind::name &&
                   symbols.name(form->children[0]->symbol) == import_name;
    at_top_ = at_top_ && imports;
    eval(*form, scope);
  }
  at_top_ = outer;
}

Value Evaluator::module(const std::string& name, std::span<const Node* const> body, Scope& scope) {
  Scope inside;
  eval_forms(body, inside);
  std::vector<const Binding*> exported;
  std::unordered_set<uint32_t> seen;
  for (const Binding* binding = inside.head; binding; binding = binding->next) {
    heap.step();
    const std::string& bound = symbols.name(binding->symbol);
    if (bound[0] >= 'A' && bound[0] <= 'Z' && seen.insert(binding->symbol).second)
      exported.push_back(binding);
  }
  for (auto at = exported.rbegin(); at != exported.rend(); ++at) {
    std::string full = name + "." + symbols.name((*at)->symbol);
    heap.use(full.size() + 64);
    bind(symbols.intern(full), (*at)->value, scope);
  }
  Value value = heap.string(name);
  value.kind = Value::Kind::module;
  return value;
}

Value Evaluator::import(const Node& form, Scope& scope) {
  const Node& argument = *form.children[1];
  if (!at_top_) fail(form, "imports stand at the top of a file, before everything else");
  if (argument.kind != Node::Kind::string) fail(argument, "'import' takes a string");
  const std::string& path = argument.text;
  if (!is_import_path(path))
    fail(argument,
         fmt::format("cannot import '{}': a path is made of names separated by '/', without '..' and "
                     "'.spec'",
                     printable(path)));
  std::optional<Imported> found = find_import(path, options_.path, form.source->directory);
  if (!found) {
    std::string where = options_.path.empty() ? "" : fmt::format(" in {} or", fmt::join(options_.path, ", "));
    fail(argument,
         fmt::format("cannot import '{}': there is no such spec{} beside this file (rayctl get fetches it)",
                     printable(path), where));
  }
  for (size_t i = 0; i < importing_.size(); ++i)
    if (importing_[i] == found->key) {
      std::string cycle;
      for (; i < importing_.size(); ++i) cycle += importing_[i] + " -> ";
      fail(argument, fmt::format("import cycle: {}{}", printable(cycle), printable(found->key)));
    }
  auto known = modules_.find(found->key);
  if (known == modules_.end()) {
    Source source = read_import(*found, options_.limits.file_size);
    heap.use(source.text.size());
    parsed_.push_back(parse(std::move(source), symbols, heap.bytes_left() / sizeof(Node)));
    heap.use(parsed_.back().nodes.size() * sizeof(Node));
    known = modules_.emplace(found->key, &parsed_.back()).first;
  }
  importing_.push_back(found->key);
  Value value = module(path.substr(path.rfind('/') + 1), known->second->forms, scope);
  importing_.pop_back();
  return value;
}

// --- the whole ---

Deployment Evaluator::run(Source source) {
  heap.use(source.text.size());
  importing_.push_back(import_key(source));
  parsed_.push_back(parse(std::move(source), symbols, heap.bytes_left() / sizeof(Node)));
  const Parsed& parsed = parsed_.back();
  heap.use(parsed.nodes.size() * sizeof(Node));
  Scope scope;
  eval_forms(parsed.forms, scope);
  report_placeholders();
  read_binds(scope);
  complete(deployment);
  try {
    verify(deployment);
  } catch (const Misfit& e) {
    for (const Parsed& file : parsed_)
      if (e.at().line && file.source->name == e.at().file)
        throw SpecError(*file.source, e.at().line, e.at().column, e.bare());
    throw;
  }
  return std::move(deployment);
}

void Evaluator::report_placeholders() const {
  if (placeholders_.empty()) return;
  std::string others;
  for (size_t i = 1; i < placeholders_.size() && i < 20; ++i) {
    const Node& node = *placeholders_[i];
    others += fmt::format("\n{}: '{}' is a placeholder, too\n{}", printable(to_string(position(node))),
                          node.text, excerpt(*node.source, node.line, node.column));
  }
  const Node& node = *placeholders_[0];
  throw SpecError(*node.source, node.line, node.column,
                  fmt::format("'{}' is a placeholder: put your own value there", node.text), others);
}

}  // namespace rayctl::stitch
