#include "stitch/value.h"

#include "base/error.h"

namespace rayctl::stitch {

namespace {

const List& empty_list() {
  static const List empty;
  return empty;
}

constexpr unsigned deepest = 200;  // lists within lists: the stack has an end

constexpr size_t most_flat = 4'000'000;  // a list in a list in a list doubles quickly

void flatten_into(Heap& heap, const List& items, List& into, unsigned depth) {
  heap.check_depth(depth, deepest);
  for (const Value& item : items) {
    heap.step();
    if (item.is(Value::Kind::list)) {
      flatten_into(heap, *item.list, into, depth + 1);
    } else {
      if (into.size() >= most_flat) heap.refuse("memory");
      into.push_back(item);
    }
  }
}

bool equal_at(Heap& heap, const Value& a, const Value& b, unsigned depth) {
  heap.check_depth(depth, deepest);
  heap.step();
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Value::Kind::integer:
      return a.integer == b.integer;
    case Value::Kind::real:
      return a.real == b.real;
    case Value::Kind::boolean:
      return a.boolean == b.boolean;
    case Value::Kind::string:
      heap.step(a.length / 64);
      return a.text() == b.text();
    case Value::Kind::list:
      if (a.list->size() != b.list->size()) return false;
      for (size_t i = 0; i < a.list->size(); ++i)
        if (!equal_at(heap, (*a.list)[i], (*b.list)[i], depth + 1)) return false;
      return true;
    case Value::Kind::map:
      if (a.map->size() != b.map->size()) return false;
      for (const auto& [key, value] : *a.map) {
        bool found = false;
        for (const auto& [other_key, other_value] : *b.map) {
          if (!equal_at(heap, key, other_key, depth + 1)) continue;
          found = equal_at(heap, value, other_value, depth + 1);
          break;
        }
        if (!found) return false;
      }
      return true;
    case Value::Kind::function:
      return a.function == b.function;
    case Value::Kind::builtin:
      return a.builtin == b.builtin;
    case Value::Kind::label:
    case Value::Kind::container:
    case Value::Kind::machine:
      return a.index == b.index;
    case Value::Kind::attribute:
      return *a.attribute == *b.attribute;
    case Value::Kind::rule:
      return *a.rule == *b.rule;
    case Value::Kind::module:
      return a.text() == b.text();
  }
  return false;
}

uint32_t checked_length(size_t length) {
  if (length > UINT32_MAX) throw Error("cannot keep a string of {} bytes", length);
  return static_cast<uint32_t>(length);
}

template <class T>
const T* keep(std::deque<T>& store, T&& thing) {
  return &store.emplace_back(std::move(thing));
}

}  // namespace

Value::Value() : kind(Kind::list), list(&empty_list()) {}

Value Value::of(int64_t number) {
  Value value;
  value.kind = Kind::integer;
  value.integer = number;
  return value;
}

Value Value::of(double number) {
  Value value;
  value.kind = Kind::real;
  value.real = number;
  return value;
}

Value Value::of_bool(bool truth) {
  Value value;
  value.kind = Kind::boolean;
  value.boolean = truth;
  return value;
}

Value Value::indexed(Kind kind, uint32_t index) {
  Value value;
  value.kind = kind;
  value.index = index;
  return value;
}

bool Value::truthy() const {
  switch (kind) {
    case Kind::integer:
      return integer != 0;
    case Kind::boolean:
      return boolean;
    case Kind::string:
      return length != 0;
    case Kind::list:
      return !list->empty();
    default:
      return true;
  }
}

std::string_view builtin_of(Attribute::Kind kind) {
  switch (kind) {
    case Attribute::Kind::provider:
      return "provider";
    case Attribute::Kind::region:
      return "region";
    case Attribute::Kind::size:
      return "size";
    case Attribute::Kind::role:
      return "role";
    case Attribute::Kind::disk:
      return "diskSize";
    case Attribute::Kind::cpu:
      return "cpu";
    case Attribute::Kind::ram:
      return "ram";
    case Attribute::Kind::ssh_key:
      return "sshkey";
    case Attribute::Kind::github_key:
      return "githubKey";
    case Attribute::Kind::spot:
      return "spot";
    case Attribute::Kind::image:
      return "machineImage";
    case Attribute::Kind::gpu:
      return "gpu";
    case Attribute::Kind::group:
      return "group";
    case Attribute::Kind::label:
      return "machineLabel";
    case Attribute::Kind::idle_timeout:
      return "idleTimeout";
  }
  return "";
}

Value Heap::string(std::string text) {
  use(text.size() + sizeof(std::string));
  Value value;
  value.kind = Value::Kind::string;
  value.length = checked_length(text.size());
  value.buffer = keep(strings_, std::move(text));
  return value;
}

Value Heap::literal(const std::string& text) const {
  Value value;
  value.kind = Value::Kind::string;
  value.length = checked_length(text.size());
  value.buffer = &text;
  return value;
}

Value Heap::concatenated(const Value& front, const std::vector<std::string_view>& pieces) {
  size_t added = 0;
  for (std::string_view piece : pieces) added += piece.size();
  auto own = growing_.find(front.buffer);
  bool grows = own != growing_.end() && front.buffer->size() == front.length;
  use(added + (grows ? 0 : front.length + sizeof(std::string) + 64));
  // The pieces may be parts of the buffer that grows.
  std::string tail;
  tail.reserve(added);
  for (std::string_view piece : pieces) tail += piece;
  if (!grows) {
    strings_.emplace_back(front.text());
    growing_.insert(&strings_.back());
  }
  std::string& buffer = grows ? const_cast<std::string&>(**own) : strings_.back();
  buffer += tail;
  Value value;
  value.kind = Value::Kind::string;
  value.length = checked_length(buffer.size());
  value.buffer = &buffer;
  return value;
}

Value Heap::list(List items) {
  Value value;
  if (items.empty()) return value;
  use(items.size() * sizeof(Value) + sizeof(List));
  value.list = keep(lists_, std::move(items));
  return value;
}

Value Heap::map(Map items) {
  use(items.size() * sizeof(Map::value_type) + sizeof(Map));
  Value value;
  value.kind = Value::Kind::map;
  value.map = keep(maps_, std::move(items));
  return value;
}

Value Heap::attribute(Attribute attribute) {
  use(sizeof(Attribute) + attribute.text.size() + attribute.key.size());
  Value value;
  value.kind = Value::Kind::attribute;
  value.attribute = keep(attributes_, std::move(attribute));
  return value;
}

Value Heap::rule(Rule rule) {
  use(sizeof(Rule) + rule.labels.size() * sizeof(std::string));
  Value value;
  value.kind = Value::Kind::rule;
  value.rule = keep(rules_, std::move(rule));
  return value;
}

Value Heap::function(Function function) {
  use(sizeof(Function) + function.parameters.size() * sizeof(uint32_t));
  Value value;
  value.kind = Value::Kind::function;
  value.function = keep(functions_, std::move(function));
  return value;
}

const Binding* Heap::bind(uint32_t symbol, Value value, const Binding* next) {
  use(sizeof(Binding));
  return keep(bindings_, Binding{symbol, value, next});
}

const char* type_name(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::integer:
      return "an integer";
    case Value::Kind::real:
      return "a float";
    case Value::Kind::boolean:
      return "a boolean";
    case Value::Kind::string:
      return "a string";
    case Value::Kind::list:
      return "a list";
    case Value::Kind::map:
      return "an hmap";
    case Value::Kind::function:
      return "a function";
    case Value::Kind::builtin:
      return "a builtin";
    case Value::Kind::label:
      return "a label";
    case Value::Kind::container:
      return "a container";
    case Value::Kind::machine:
      return "a machine";
    case Value::Kind::attribute:
      return "a machine attribute";
    case Value::Kind::rule:
      return "a placement rule";
    case Value::Kind::module:
      return "a module";
  }
  return "";
}

List flatten(Heap& heap, const List& items) {
  List flat;
  flatten_into(heap, items, flat, 0);
  return flat;
}

bool equal(Heap& heap, const Value& a, const Value& b) {
  return equal_at(heap, a, b, 0);
}

}  // namespace rayctl::stitch
