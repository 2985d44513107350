// Evaluates the forms of a spec into a deployment. Internal to src/stitch: callers use stitch.h.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "stitch/deployment.h"
#include "stitch/stitch.h"
#include "stitch/value.h"

namespace rayctl::stitch {

class Evaluator;

// One call of a builtin: its values, and where they stand for messages.
struct Call {
  const Builtin* builtin;
  const Node* form;  // the call, or the one (map, apply, …) that made it
  List values;
  bool direct;  // the form's own arguments are the values

  size_t size() const { return values.size(); }
  const Value& operator[](size_t i) const { return values[i]; }
};

// A special form gets its arguments unevaluated, all others get values.
using EagerBuiltin = Value (*)(Evaluator&, const Call&);
using SpecialForm = Value (*)(Evaluator&, const Node& form, Scope& scope);

struct Builtin {
  const char* name;
  size_t fewest, most;  // arguments
  EagerBuiltin eager = nullptr;
  SpecialForm special = nullptr;
};
inline constexpr size_t any_number = SIZE_MAX;

// The 64 of 2016 and those added since; sorted by name.
std::span<const Builtin> special_forms();       // forms.cc
std::span<const Builtin> value_builtins();      // builtins_value.cc
std::span<const Builtin> list_builtins();       // builtins_list.cc
std::span<const Builtin> container_builtins();  // builtins_container.cc
std::span<const Builtin> network_builtins();    // builtins_network.cc
std::span<const Builtin> machine_builtins();    // builtins_machine.cc

// Adds the key or replaces its value; a list, map or function as key is an error.
void set_in_map(Evaluator& evaluator, Map& map, const Value& key, const Value& value, const Node& at);

class Evaluator {
 public:
  explicit Evaluator(const Options& options);

  Deployment run(Source source);

  // --- for builtins ---
  Heap heap;
  Deployment deployment;  // grows as forms are evaluated

  Value eval(const Node& node, Scope& scope);
  Value eval_body(const Node& form, size_t first,
                  Scope& scope);  // the last one's value; () when there is none
  Value call(const Value& function, List arguments, const Node& form);
  // Its parameters are the children of `parameters` from `first` on, its body those of `form` from `body` on.
  Value make_function(const Node& parameters, size_t first, const Node& form, size_t body, const Scope& scope,
                      std::string name);
  Value import(const Node& form, Scope& scope);
  Value module(const std::string& name, std::span<const Node* const> body, Scope& scope);
  void define(uint32_t symbol, const Value& value, const Node& at, Scope& scope);
  void reassign(uint32_t symbol, const Value& value, const Node& at, Scope& scope);
  void bind(uint32_t symbol, const Value& value, Scope& scope);

  // Labels by value or name. Empty when there is none.
  std::optional<uint32_t> find_label(const Value& value) const;
  uint32_t add_label(Label label);
  void add_connection(uint32_t from, uint32_t to, uint16_t min, uint16_t max, const Node& at);
  void add_placement(Placement placement);
  uint32_t public_id() const { return UINT32_MAX; }  // stands for "public" among labels
  // Names in values: the label's, or "public".
  const std::string& label_name(uint32_t label) const;

  std::string show(const Value& value) const;                  // for messages: short
  std::string text_of(const Value& value, size_t most) const;  // as %v writes it; at most so long
  Position position(const Node& node) const;
  void log(Level level, const std::string& text) { options_.log(level, text); }

  // Throws a SpecError at the form, or at its argument `i` (from 0) when the form has one of its own.
  [[noreturn]] void fail(const Node& node, std::string_view message) const;
  template <class... A>
  [[noreturn]] void fail(const Call& call, size_t i, fmt::format_string<A...> format, A&&... args) const {
    fail(argument_node(call, i), fmt::format(format, std::forward<A>(args)...));
  }
  template <class... A>
  [[noreturn]] void fail(const Call& call, fmt::format_string<A...> format, A&&... args) const {
    fail(*call.form, fmt::format(format, std::forward<A>(args)...));
  }
  // The argument as the type that the builtin takes, or an error that says what it is instead.
  int64_t integer(const Call& call, size_t i) const;
  double number(const Call& call, size_t i) const;  // integer or float
  std::string_view string(const Call& call, size_t i) const;
  const List& list(const Call& call, size_t i) const;
  const Map& map(const Call& call, size_t i) const;
  uint32_t label(const Call& call, size_t i) const;  // by value or name; "public" is none
  [[noreturn]] void mismatch(const Call& call, size_t i, const char* wanted) const;

  Symbols symbols;

 private:
  struct Frame {
    const Function* function;
    const Node* form;
  };
  struct Deeper;  // counts nested evaluations

  const Node& argument_node(const Call& call, size_t i) const;
  Value lookup(const Node& name, const Scope& scope);
  const Binding* find(uint32_t symbol, const Binding* from, const Binding* to);
  Value eval_form(const Node& form, Scope& scope);
  const Builtin* builtin_named(uint32_t symbol) const;
  Value head_of(const Node& form, Scope& scope);
  void check_count(const Builtin& builtin, size_t count, const Node& form) const;
  Value invoke(const Function& function, List arguments, const Node& form);
  void eval_forms(std::span<const Node* const> forms, Scope& scope);
  std::string nearest_name(const std::string& name, const Scope& scope) const;

  // after the last form
  void read_binds(const Scope& scope);
  void read_acl(const Value& value, const Node& at);
  void read_keys(const Scope& scope);
  void report_placeholders() const;

  const Options& options_;
  std::deque<Parsed> parsed_;
  std::unordered_map<std::string, const Parsed*> modules_;  // by path or built-in name
  std::vector<std::string> importing_;                      // those being evaluated, outermost first
  std::vector<const Builtin*> builtins_;                    // by symbol: those come first
  std::vector<bool> bound_;  // symbols that any binding has: others are builtins
  std::vector<Frame> calls_;
  std::unordered_map<uint32_t, const Node*> defined_at_;  // names of the spec itself
  bool at_top_ = true;                                    // may imports stand here?
  unsigned depth_ = 0;
  const Node* current_ = nullptr;  // the innermost form: where a limit was reached
  std::unordered_map<std::string, uint32_t> label_ids_;
  std::unordered_set<std::string> seen_;  // connections and placements, each once
  std::vector<const Node*> placeholders_;
};

}  // namespace rayctl::stitch
