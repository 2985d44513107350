// What evaluating a form gives, and the memory that values live in until the evaluation ends.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "stitch/syntax.h"

namespace rayctl::stitch {

struct Attribute;
struct Builtin;
struct Function;
struct Rule;
struct Value;

using List = std::vector<Value>;
using Map = std::vector<std::pair<Value, Value>>;  // in the order of their insertion

// Small and copied freely: what it points to is never changed once it can be seen.
struct Value {
  enum class Kind : uint8_t {
    integer,
    real,
    boolean,
    string,
    list,
    map,
    function,
    builtin,
    label,      // index into Evaluator::labels
    container,  // index into the deployment's containers
    machine,    // index into the deployment's machines
    attribute,
    rule,
    module,  // what `import` and `module` give
  };
  Kind kind = Kind::list;
  uint32_t length = 0;  // of a string: the front of its buffer
  union {
    int64_t integer;
    double real;
    bool boolean;
    uint32_t index;
    const std::string* buffer;  // of a string (or a module's name): text() is what it is
    const List* list;
    const Map* map;
    const Function* function;
    const Builtin* builtin;
    const Attribute* attribute;
    const Rule* rule;
  };

  Value();  // the empty list
  static Value of(int64_t number);
  static Value of(double number);
  static Value of_bool(bool truth);
  static Value indexed(Kind kind, uint32_t index);

  std::string_view text() const { return {buffer->data(), length}; }
  bool is(Kind other) const { return kind == other; }
  bool callable() const { return kind == Kind::function || kind == Kind::builtin; }
  // False are "", 0, false and the empty list.
  bool truthy() const;
};

// A variable's binding; the chain of them is never changed, so that a function keeps the one it was made in.
struct Binding {
  uint32_t symbol;
  Value value;
  const Binding* next;
};

// Where names are defined: from `head` down to `base` they are the scope's own.
struct Scope {
  const Binding* head = nullptr;
  const Binding* base = nullptr;
};

struct Function {
  const Node* form;  // of its definition: the body begins at child `body`
  size_t body;
  std::vector<uint32_t> parameters;
  const Binding* captured;
  std::string name;  // for messages; empty for a lambda
};

// What a machine is made of: `(provider "Amazon")`.
struct Attribute {
  enum class Kind {
    provider,
    region,
    size,
    role,
    disk,
    cpu,
    ram,
    ssh_key,
    github_key,
    spot,
    image,
    gpu,
    group,
    label,
    idle_timeout
  };
  Kind kind;
  std::string text = {}, key = {};  // key: of a label
  double min = 0, max = 0;          // ranges; min is also the number of GB, GPUs and seconds, 1 for true
  bool operator==(const Attribute&) const = default;
};
std::string_view builtin_of(Attribute::Kind kind);  // the builtin that makes it

// `(labelRule …)` or `(machineRule …)`.
struct Rule {
  bool exclusive = true;
  std::vector<std::string> labels = {};
  std::string provider = {}, region = {}, size = {};
  bool operator==(const Rule&) const = default;
};

// Owns values until the evaluation ends, and counts bytes and steps: a spec can't have more than its share.
class Heap {
 public:
  // `on_limit` gets "memory", "steps" or "depth", and throws.
  Heap(uint64_t most_bytes, uint64_t most_steps, std::function<void(std::string_view)> on_limit)
      : bytes_left_(most_bytes), steps_left_(most_steps), on_limit_(std::move(on_limit)) {}

  void use(uint64_t bytes) {
    if (bytes > bytes_left_) on_limit_("memory");
    bytes_left_ -= bytes;
  }
  void step(uint64_t steps = 1) {
    if (steps > steps_left_) on_limit_("steps");
    steps_left_ -= steps;
  }
  void check_depth(unsigned depth, unsigned most) const {
    if (depth > most) on_limit_("depth");
  }
  void refuse(std::string_view what) const { on_limit_(what); }
  uint64_t bytes_left() const { return bytes_left_; }

  Value string(std::string text);
  Value literal(const std::string& text) const;  // which outlives the heap
  // `front` and then the pieces. Where `front` ends its buffer, they are added to that: joining n strings one
  // by one costs their length, not its square.
  Value concatenated(const Value& front, const std::vector<std::string_view>& pieces);
  Value list(List items);
  Value map(Map items);
  Value attribute(Attribute attribute);
  Value rule(Rule rule);
  Value function(Function function);
  const Binding* bind(uint32_t symbol, Value value, const Binding* next);

 private:
  uint64_t bytes_left_, steps_left_;
  std::function<void(std::string_view)> on_limit_;
  std::deque<std::string> strings_;
  std::unordered_set<const std::string*> growing_;  // those of strings_ that concatenated() made
  std::deque<List> lists_;
  std::deque<Map> maps_;
  std::deque<Attribute> attributes_;
  std::deque<Rule> rules_;
  std::deque<Function> functions_;
  std::deque<Binding> bindings_;
};

const char* type_name(Value::Kind kind);  // "a string", "an integer", … for messages

// All that is in nested lists, in order. Charges steps.
List flatten(Heap& heap, const List& items);

// Deep equality; functions are equal to themselves only.
bool equal(Heap& heap, const Value& a, const Value& b);

}  // namespace rayctl::stitch
