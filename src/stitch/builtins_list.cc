// Lists and maps.
#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

Value list_of(Evaluator& evaluator, const Call& call) {
  return evaluator.heap.list(call.values);
}

Value cons(Evaluator& evaluator, const Call& call) {
  const List& rest = evaluator.list(call, 1);
  evaluator.heap.step(rest.size());
  List items{call[0]};
  items.insert(items.end(), rest.begin(), rest.end());
  return evaluator.heap.list(std::move(items));
}

const List& populated(Evaluator& evaluator, const Call& call, size_t i) {
  const List& items = evaluator.list(call, i);
  if (items.empty())
    evaluator.fail(call, i, "'{}' takes a list with something in it: this one is empty", call.builtin->name);
  return items;
}

Value car(Evaluator& evaluator, const Call& call) {
  return populated(evaluator, call, 0).front();
}

Value cdr(Evaluator& evaluator, const Call& call) {
  const List& items = populated(evaluator, call, 0);
  evaluator.heap.step(items.size());
  return evaluator.heap.list(List(items.begin() + 1, items.end()));
}

Value nth(Evaluator& evaluator, const Call& call) {
  int64_t index = evaluator.integer(call, 0);
  const List& items = evaluator.list(call, 1);
  if (index < 0 || static_cast<uint64_t>(index) >= items.size())
    evaluator.fail(call, 0, "there is no item {} in a list of {} (the first is 0)", index, items.size());
  return items[static_cast<size_t>(index)];
}

Value length(Evaluator& evaluator, const Call& call) {
  return Value::of(static_cast<int64_t>(evaluator.list(call, 0).size()));
}

Value append(Evaluator& evaluator, const Call& call) {
  List items = evaluator.list(call, 0);
  evaluator.heap.step(items.size());
  items.insert(items.end(), call.values.begin() + 1, call.values.end());
  return evaluator.heap.list(std::move(items));
}

Value map_over(Evaluator& evaluator, const Call& call) {
  size_t length = evaluator.list(call, 1).size();
  for (size_t i = 2; i < call.size(); ++i)
    if (evaluator.list(call, i).size() != length)
      evaluator.fail(call, i, "'map' takes lists of one length: this one has {}, the first {}",
                     evaluator.list(call, i).size(), length);
  List results;
  for (size_t item = 0; item < length; ++item) {
    List arguments;
    for (size_t i = 1; i < call.size(); ++i) arguments.push_back((*call[i].list)[item]);
    evaluator.heap.use(sizeof(Value));
    results.push_back(evaluator.call(call[0], std::move(arguments), *call.form));
  }
  return evaluator.heap.list(std::move(results));
}

Value reduce(Evaluator& evaluator, const Call& call) {
  const List& items = evaluator.list(call, 1);
  if (items.size() < 2)
    evaluator.fail(call, 1, "'reduce' takes a list of two or more: this one has {}", items.size());
  Value result = items[0];
  for (size_t i = 1; i < items.size(); ++i) result = evaluator.call(call[0], {result, items[i]}, *call.form);
  return result;
}

Value apply(Evaluator& evaluator, const Call& call) {
  return evaluator.call(call[0], evaluator.list(call, 1), *call.form);
}

// As Python's: (range stop), (range start stop), (range start stop step).
Value range(Evaluator& evaluator, const Call& call) {
  int64_t start = call.size() > 1 ? evaluator.integer(call, 0) : 0;
  int64_t stop = evaluator.integer(call, call.size() > 1 ? 1 : 0);
  int64_t step = call.size() > 2 ? evaluator.integer(call, 2) : 1;
  if (step <= 0) evaluator.fail(call, 2, "the step of a range is 1 or more, not {}", step);
  List items;
  for (int64_t i = start; i < stop;) {
    evaluator.heap.step();
    evaluator.heap.use(sizeof(Value));
    items.push_back(Value::of(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return evaluator.heap.list(std::move(items));
}

const Value* find(Evaluator& evaluator, const Map& map, const Value& key) {
  for (const auto& [known, value] : map)
    if (equal(evaluator.heap, known, key)) return &value;
  return nullptr;
}

Value hmap_get(Evaluator& evaluator, const Call& call) {
  const Map& map = evaluator.map(call, 0);
  if (const Value* found = find(evaluator, map, call[1])) return *found;
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) {
    if (keys.size() == 10) {
      keys.push_back("…");
      break;
    }
    keys.push_back(evaluator.show(key));
  }
  evaluator.fail(call, 1, "the hmap has no key {} (it has {})", evaluator.show(call[1]),
                 keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", ")));
}

Value hmap_contains(Evaluator& evaluator, const Call& call) {
  return Value::of_bool(find(evaluator, evaluator.map(call, 0), call[1]) != nullptr);
}

Value hmap_set(Evaluator& evaluator, const Call& call) {
  Map copy = evaluator.map(call, 0);
  evaluator.heap.step(copy.size());
  set_in_map(evaluator, copy, call[1], call[2], *call.form);
  return evaluator.heap.map(std::move(copy));
}

Value hmap_keys(Evaluator& evaluator, const Call& call) {
  List keys;
  for (const auto& [key, value] : evaluator.map(call, 0)) keys.push_back(key);
  return evaluator.heap.list(std::move(keys));
}

Value hmap_values(Evaluator& evaluator, const Call& call) {
  List values;
  for (const auto& [key, value] : evaluator.map(call, 0)) values.push_back(value);
  return evaluator.heap.list(std::move(values));
}

constexpr Builtin builtins[] = {
    {.name = "append", .fewest = 2, .most = any_number, .eager = append},
    {.name = "apply", .fewest = 2, .most = 2, .eager = apply},
    {.name = "car", .fewest = 1, .most = 1, .eager = car},
    {.name = "cdr", .fewest = 1, .most = 1, .eager = cdr},
    {.name = "cons", .fewest = 2, .most = 2, .eager = cons},
    {.name = "hmapContains", .fewest = 2, .most = 2, .eager = hmap_contains},
    {.name = "hmapGet", .fewest = 2, .most = 2, .eager = hmap_get},
    {.name = "hmapKeys", .fewest = 1, .most = 1, .eager = hmap_keys},
    {.name = "hmapSet", .fewest = 3, .most = 3, .eager = hmap_set},
    {.name = "hmapValues", .fewest = 1, .most = 1, .eager = hmap_values},
    {.name = "len", .fewest = 1, .most = 1, .eager = length},
    {.name = "list", .fewest = 0, .most = any_number, .eager = list_of},
    {.name = "map", .fewest = 2, .most = any_number, .eager = map_over},
    {.name = "nth", .fewest = 2, .most = 2, .eager = nth},
    {.name = "range", .fewest = 1, .most = 3, .eager = range},
    {.name = "reduce", .fewest = 2, .most = 2, .eager = reduce},
};

}  // namespace

void set_in_map(Evaluator& evaluator, Map& map, const Value& key, const Value& value, const Node& at) {
  switch (key.kind) {
    case Value::Kind::list:
    case Value::Kind::map:
    case Value::Kind::function:
      evaluator.fail(at, fmt::format("{} can't be a key of an hmap", type_name(key.kind)));
    default:
      break;
  }
  for (auto& [known, old] : map)
    if (equal(evaluator.heap, known, key)) {
      old = value;
      return;
    }
  evaluator.heap.use(sizeof(Map::value_type));
  map.emplace_back(key, value);
}

std::span<const Builtin> list_builtins() {
  return builtins;
}

}  // namespace rayctl::stitch
