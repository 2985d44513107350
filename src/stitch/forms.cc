// Special forms: their arguments aren't evaluated before they are.
#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

using Kind = Node::Kind;

const Node& argument(const Node& form, size_t i) {
  return *form.children[i + 1];
}

size_t count(const Node& form) {
  return form.children.size() - 1;
}

// `((a 1) (b 2))`: calls `each` with the two halves of every pair.
template <class F>
void pairs(Evaluator& evaluator, const std::vector<const Node*>& nodes, size_t first, const char* of,
           F&& each) {
  for (size_t i = first; i < nodes.size(); ++i) {
    const Node& pair = *nodes[i];
    if (pair.kind != Kind::form || pair.children.size() != 2)
      evaluator.fail(pair, fmt::format("'{}' takes pairs: (name value)", of));
    each(*pair.children[0], *pair.children[1]);
  }
}

Value define_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  const Node& target = argument(form, 0);
  if (target.kind == Kind::name) {
    if (count(form) != 2) evaluator.fail(form, "'define' takes a name and one value");
    evaluator.define(target.symbol, evaluator.eval(argument(form, 1), scope), argument(form, 1), scope);
    return {};
  }
  if (target.kind != Kind::form || target.children.empty() || target.children[0]->kind != Kind::name)
    evaluator.fail(target, "'define' takes a name, or (name parameter…)");
  uint32_t name = target.children[0]->symbol;
  Value function = evaluator.make_function(target, 1, form, 2, scope, evaluator.symbols.name(name));
  evaluator.define(name, function, target, scope);
  return {};
}

Value set_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  const Node& target = argument(form, 0);
  if (target.kind != Kind::name) evaluator.fail(target, "'set' takes a name");
  evaluator.reassign(target.symbol, evaluator.eval(argument(form, 1), scope), target, scope);
  return {};
}

Value lambda_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  const Node& parameters = argument(form, 0);
  if (parameters.kind != Kind::form) evaluator.fail(parameters, "'lambda' takes (parameter…) and a body");
  return evaluator.make_function(parameters, 0, form, 2, scope, "");
}

Value let_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  const Node& names = argument(form, 0);
  if (names.kind != Kind::form) evaluator.fail(names, "'let' takes ((name value)…) and a body");
  Scope inside{scope.head, scope.head};
  pairs(evaluator, names.children, 0, "let", [&](const Node& name, const Node& value) {
    if (name.kind != Kind::name) evaluator.fail(name, "'let' binds names");
    evaluator.bind(name.symbol, evaluator.eval(value, inside), inside);
  });
  return evaluator.eval_body(form, 2, inside);
}

Value if_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  if (evaluator.eval(argument(form, 0), scope).truthy()) return evaluator.eval(argument(form, 1), scope);
  return count(form) == 3 ? evaluator.eval(argument(form, 2), scope) : Value();
}

Value and_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  for (size_t i = 0; i < count(form); ++i)
    if (!evaluator.eval(argument(form, i), scope).truthy()) return Value::of_bool(false);
  return Value::of_bool(true);
}

Value or_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  for (size_t i = 0; i < count(form); ++i)
    if (evaluator.eval(argument(form, i), scope).truthy()) return Value::of_bool(true);
  return Value::of_bool(false);
}

Value hmap_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  Map map;
  pairs(evaluator, form.children, 1, "hmap", [&](const Node& key_node, const Node& value_node) {
    Value key = evaluator.eval(key_node, scope);
    Value value = evaluator.eval(value_node, scope);
    set_in_map(evaluator, map, key, value, key_node);
  });
  return evaluator.heap.map(std::move(map));
}

Value make_list_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  Value times = evaluator.eval(argument(form, 0), scope);
  if (!times.is(Value::Kind::integer) || times.integer < 0)
    evaluator.fail(argument(form, 0), fmt::format("'makeList' takes a number of times, not {}: {}",
                                                  type_name(times.kind), evaluator.show(times)));
  List items;
  for (int64_t i = 0; i < times.integer; ++i) {
    evaluator.heap.use(sizeof(Value));
    items.push_back(evaluator.eval(argument(form, 1), scope));
  }
  return evaluator.heap.list(std::move(items));
}

Value import_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  return evaluator.import(form, scope);
}

Value module_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  Value name = evaluator.eval(argument(form, 0), scope);
  if (!name.is(Value::Kind::string) || name.length == 0)
    evaluator.fail(argument(form, 0), "'module' takes its name, a string, first");
  return evaluator.module(std::string(name.text()), std::span(form.children).subspan(2), scope);
}

// The words of `(invariant reach true "a" "b")`: names as they are, labels by value or name.
Value invariant_form(Evaluator& evaluator, const Node& form, Scope& scope) {
  const Node& first = argument(form, 0);
  Invariant invariant{.at = evaluator.position(form)};
  if (first.kind == Kind::name)
    invariant.form = evaluator.symbols.name(first.symbol);
  else if (first.kind == Kind::string)
    invariant.form = first.text;
  const auto& forms = invariant_forms();
  if (std::find(forms.begin(), forms.end(), invariant.form) == forms.end()) {
    std::string near = nearest(invariant.form, forms);
    evaluator.fail(first, fmt::format("an invariant is one of {}{}", fmt::join(forms, ", "),
                                      near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near)));
  }
  size_t next = 1;
  if (count(form) > 1) {
    Value holds = evaluator.eval(argument(form, 1), scope);
    if (!holds.is(Value::Kind::boolean))
      evaluator.fail(argument(form, 1), "an invariant says true or false after its form");
    invariant.holds = holds.boolean;
    next = 2;
  }
  for (; next < count(form); ++next) {
    Value label = evaluator.eval(argument(form, next), scope);
    std::optional<uint32_t> found = evaluator.find_label(label);
    if (!found)
      evaluator.fail(argument(form, next),
                     fmt::format("an invariant takes labels: {} is none", evaluator.show(label)));
    invariant.labels.push_back(evaluator.label_name(*found));
  }
  size_t wanted = invariant.form == "enough" ? 0 : invariant.form == "between" ? 3 : 2;
  if (invariant.labels.size() != wanted)
    evaluator.fail(form, fmt::format("invariant '{}' takes {} labels, not {}", invariant.form, wanted,
                                     invariant.labels.size()));
  evaluator.heap.use(sizeof(Invariant) + 3 * 64);
  evaluator.deployment.invariants.push_back(std::move(invariant));
  return {};
}

constexpr Builtin forms[] = {
    {.name = "and", .fewest = 1, .most = any_number, .special = and_form},
    {.name = "define", .fewest = 2, .most = any_number, .special = define_form},
    {.name = "hmap", .fewest = 0, .most = any_number, .special = hmap_form},
    {.name = "if", .fewest = 2, .most = 3, .special = if_form},
    {.name = "import", .fewest = 1, .most = 1, .special = import_form},
    {.name = "invariant", .fewest = 1, .most = any_number, .special = invariant_form},
    {.name = "lambda", .fewest = 2, .most = any_number, .special = lambda_form},
    {.name = "let", .fewest = 1, .most = any_number, .special = let_form},
    {.name = "makeList", .fewest = 2, .most = 2, .special = make_list_form},
    {.name = "module", .fewest = 2, .most = any_number, .special = module_form},
    {.name = "or", .fewest = 1, .most = any_number, .special = or_form},
    {.name = "set", .fewest = 2, .most = 2, .special = set_form},
};

}  // namespace

std::span<const Builtin> special_forms() {
  return forms;
}

}  // namespace rayctl::stitch
