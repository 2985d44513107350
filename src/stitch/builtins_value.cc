// Numbers, truth, text: arithmetic, comparison, sprintf, log, panic.
#include <cmath>
#include <limits>

#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

// Integers only, as in 2016; an overflow is an error.
template <class F>
Value fold(Evaluator& evaluator, const Call& call, F&& step) {
  int64_t total = evaluator.integer(call, 0);
  for (size_t i = 1; i < call.size(); ++i) {
    int64_t operand = evaluator.integer(call, i), result = 0;
    if (step(total, operand, result))
      evaluator.fail(call, "the result of '{}' is too large", call.builtin->name);
    total = result;
  }
  return Value::of(total);
}

Value plus(Evaluator& evaluator, const Call& call) {
  if (!call[0].is(Value::Kind::string))
    return fold(evaluator, call,
                [](int64_t a, int64_t b, int64_t& c) { return __builtin_add_overflow(a, b, &c); });
  std::vector<std::string_view> pieces;
  for (size_t i = 1; i < call.size(); ++i) pieces.push_back(evaluator.string(call, i));
  return evaluator.heap.concatenated(call[0], pieces);
}

Value minus(Evaluator& evaluator, const Call& call) {
  return fold(evaluator, call,
              [](int64_t a, int64_t b, int64_t& c) { return __builtin_sub_overflow(a, b, &c); });
}

Value times(Evaluator& evaluator, const Call& call) {
  return fold(evaluator, call,
              [](int64_t a, int64_t b, int64_t& c) { return __builtin_mul_overflow(a, b, &c); });
}

void need_divisor(Evaluator& evaluator, const Call& call) {
  for (size_t i = 1; i < call.size(); ++i)
    if (evaluator.integer(call, i) == 0) evaluator.fail(call, i, "cannot divide by zero");
}

// Towards zero, as Go and C++ divide.
Value divide(Evaluator& evaluator, const Call& call) {
  need_divisor(evaluator, call);
  return fold(evaluator, call, [](int64_t a, int64_t b, int64_t& c) {
    if (a == std::numeric_limits<int64_t>::min() && b == -1) return true;
    c = a / b;
    return false;
  });
}

Value remainder(Evaluator& evaluator, const Call& call) {
  need_divisor(evaluator, call);
  return fold(evaluator, call, [](int64_t a, int64_t b, int64_t& c) {
    c = b == -1 ? 0 : a % b;
    return false;
  });
}

Value equals(Evaluator& evaluator, const Call& call) {
  for (size_t i = 1; i < call.size(); ++i)
    if (!equal(evaluator.heap, call[i - 1], call[i])) return Value::of_bool(false);
  return Value::of_bool(true);
}

template <class F>
Value ordered(Evaluator& evaluator, const Call& call, F&& holds) {
  bool all = true;
  for (size_t i = 1; i < call.size(); ++i)
    all = holds(evaluator.integer(call, i - 1), evaluator.integer(call, i)) && all;
  return Value::of_bool(all);
}

Value less(Evaluator& evaluator, const Call& call) {
  return ordered(evaluator, call, [](int64_t a, int64_t b) { return a < b; });
}

Value greater(Evaluator& evaluator, const Call& call) {
  return ordered(evaluator, call, [](int64_t a, int64_t b) { return a > b; });
}

Value negate(Evaluator&, const Call& call) {
  return Value::of_bool(!call[0].truthy());
}

Value truth(Evaluator&, const Call& call) {
  return Value::of_bool(call[0].truthy());
}

Value last(Evaluator&, const Call& call) {
  return call[call.size() - 1];
}

// One verb of a format: %[-+0 ][width][.precision]verb
struct Verb {
  bool left = false, plus = false, zero = false;
  size_t width = 0;
  std::optional<size_t> precision = {};
  char verb = 0;
};

constexpr size_t widest = 1000;

class Formatter {
 public:
  Formatter(Evaluator& evaluator, const Call& call) : evaluator_(evaluator), call_(call) {}

  std::string run() {
    const std::string format(evaluator_.string(call_, 0));
    for (at_ = 0; at_ < format.size();) {
      size_t percent = std::min(format.find('%', at_), format.size());
      add(std::string_view(format).substr(at_, percent - at_));
      at_ = percent + 1;
      if (percent >= format.size()) break;
      Verb verb = read(format);
      if (verb.verb == '%')
        add("%");
      else
        add(pad(verb, write(verb)));
    }
    if (next_ < call_.size()) evaluator_.fail(call_, next_, "the format has no verb for this value");
    return std::move(text_);
  }

 private:
  void add(std::string_view piece) {
    evaluator_.heap.use(piece.size());
    text_ += piece;
  }

  size_t number(const std::string& format) {
    size_t value = 0;
    while (at_ < format.size() && format[at_] >= '0' && format[at_] <= '9') {
      value = value * 10 + static_cast<size_t>(format[at_++] - '0');
      if (value > widest) evaluator_.fail(call_, 0, "a width in the format is beyond {}", widest);
    }
    return value;
  }

  Verb read(const std::string& format) {
    Verb verb;
    for (; at_ < format.size(); ++at_) {
      char c = format[at_];
      if (c == '-')
        verb.left = true;
      else if (c == '+')
        verb.plus = true;
      else if (c == '0')
        verb.zero = true;
      else
        break;
    }
    verb.width = number(format);
    if (at_ < format.size() && format[at_] == '.') {
      ++at_;
      verb.precision = number(format);
    }
    if (at_ >= format.size()) evaluator_.fail(call_, 0, "the format ends within a verb");
    verb.verb = format[at_++];
    return verb;
  }

  const Value& argument(const Verb& verb) {
    if (next_ >= call_.size())
      evaluator_.fail(call_, "the format has a %{} more than there are values", verb.verb);
    return call_[next_++];
  }

  [[noreturn]] void wrong(const Verb& verb, const char* wanted) {
    evaluator_.fail(call_, next_ - 1, "%{} writes {}, not {}: {}", verb.verb, wanted,
                    type_name(call_[next_ - 1].kind), evaluator_.show(call_[next_ - 1]));
  }

  std::string write(const Verb& verb) {
    const Value& value = argument(verb);
    using Kind = Value::Kind;
    switch (verb.verb) {
      case 's':
      case 'v': {
        std::string text = evaluator_.text_of(value, 1 << 20);
        return verb.precision ? text.substr(0, *verb.precision) : text;
      }
      case 'q':
        if (!value.is(Kind::string)) wrong(verb, "a string");
        return fmt::format("\"{}\"", value.text());
      case 'd':
        if (!value.is(Kind::integer)) wrong(verb, "an integer");
        return verb.plus ? fmt::format("{:+}", value.integer) : fmt::format("{}", value.integer);
      case 'x':
        if (!value.is(Kind::integer)) wrong(verb, "an integer");
        return fmt::format("{:x}", value.integer);
      case 't':
        if (!value.is(Kind::boolean)) wrong(verb, "a boolean");
        return value.boolean ? "true" : "false";
      case 'f': {
        if (!value.is(Kind::real)) wrong(verb, "a float");
        int precision = static_cast<int>(verb.precision.value_or(6));
        return verb.plus ? fmt::format("{:+.{}f}", value.real, precision)
                         : fmt::format("{:.{}f}", value.real, precision);
      }
      default:
        evaluator_.fail(call_, 0, "the format has a verb '%{}': there are %s %v %d %x %t %f %q and %%",
                        printable(std::string_view(&verb.verb, 1)));
    }
  }

  static std::string pad(const Verb& verb, std::string text) {
    if (text.size() >= verb.width) return text;
    size_t missing = verb.width - text.size();
    if (verb.left) return text + std::string(missing, ' ');
    if (!verb.zero || std::string_view("sqvt").find(verb.verb) != std::string_view::npos)
      return std::string(missing, ' ') + text;
    size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    return text.insert(sign, missing, '0');
  }

  Evaluator& evaluator_;
  const Call& call_;
  std::string text_;
  size_t at_ = 0, next_ = 1;
};

Value sprintf_(Evaluator& evaluator, const Call& call) {
  return evaluator.heap.string(Formatter(evaluator, call).run());
}

Value log_(Evaluator& evaluator, const Call& call) {
  std::string_view level = evaluator.string(call, 0);
  const std::string message(evaluator.string(call, 1));
  evaluator.heap.use(message.size() + 64);  // a spec can't flood the terminal either
  if (level == "print" || level == "info")
    evaluator.log(Level::info, message);
  else if (level == "debug")
    evaluator.log(Level::debug, message);
  else if (level == "warn")
    evaluator.log(Level::warn, message);
  else if (level == "error")
    evaluator.log(Level::error, message);
  else
    evaluator.fail(call, 0, "a level of the log is print, debug, info, warn or error, not '{}'",
                   printable(level));
  return {};
}

Value panic(Evaluator& evaluator, const Call& call) {
  evaluator.fail(call, "panic: {}", printable(evaluator.string(call, 0)));
}

constexpr Builtin builtins[] = {
    {.name = "!", .fewest = 1, .most = 1, .eager = negate},
    {.name = "%", .fewest = 2, .most = any_number, .eager = remainder},
    {.name = "*", .fewest = 2, .most = any_number, .eager = times},
    {.name = "+", .fewest = 2, .most = any_number, .eager = plus},
    {.name = "-", .fewest = 2, .most = any_number, .eager = minus},
    {.name = "/", .fewest = 2, .most = any_number, .eager = divide},
    {.name = "<", .fewest = 2, .most = any_number, .eager = less},
    {.name = "=", .fewest = 2, .most = any_number, .eager = equals},
    {.name = ">", .fewest = 2, .most = any_number, .eager = greater},
    {.name = "bool", .fewest = 1, .most = 1, .eager = truth},
    {.name = "log", .fewest = 2, .most = 2, .eager = log_},
    {.name = "panic", .fewest = 1, .most = 1, .eager = panic},
    {.name = "progn", .fewest = 1, .most = any_number, .eager = last},
    {.name = "sprintf", .fewest = 1, .most = any_number, .eager = sprintf_},
};

}  // namespace

std::span<const Builtin> value_builtins() {
  return builtins;
}

}  // namespace rayctl::stitch
