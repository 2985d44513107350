// Values as text: for messages, %v and %s.
#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

// Stops adding at its limit: a value can be far larger than any message.
class Printer {
 public:
  Printer(const Evaluator& evaluator, size_t most) : evaluator_(evaluator), most_(most) {}

  void print(const Value& value, int depth) {
    if (full()) return;
    using Kind = Value::Kind;
    switch (value.kind) {
      case Kind::integer:
        add(fmt::format("{}", value.integer));
        break;
      case Kind::real:
        add(fmt::format("{}", value.real));
        break;
      case Kind::boolean:
        add(value.boolean ? "true" : "false");
        break;
      case Kind::string:
        add(depth ? fmt::format("\"{}\"", value.text().substr(0, most_))
                  : std::string(value.text().substr(0, most_)));
        break;
      case Kind::list:
        print_list(*value.list, depth);
        break;
      case Kind::map:
        print_map(*value.map, depth);
        break;
      case Kind::function:
        add(value.function->name.empty() ? "<lambda>" : "<function " + value.function->name + ">");
        break;
      case Kind::builtin:
        add(value.builtin->name);
        break;
      case Kind::label:
        add(fmt::format("(label \"{}\")", evaluator_.label_name(value.index)));
        break;
      case Kind::container:
        print_container(value.index);
        break;
      case Kind::machine:
        add(fmt::format("<machine {}>", value.index + 1));
        break;
      case Kind::attribute:
        print_attribute(*value.attribute);
        break;
      case Kind::rule:
        add(value.rule->labels.empty() ? "<machineRule>" : "<labelRule>");
        break;
      case Kind::module:
        add(fmt::format("<module {}>", value.text()));
        break;
    }
  }

  std::string take() {
    if (text_.size() > most_) {
      text_.resize(most_);
      while (!text_.empty() && (static_cast<unsigned char>(text_.back()) & 0xc0) == 0x80) text_.pop_back();
      if (!text_.empty() && static_cast<unsigned char>(text_.back()) >= 0xc0) text_.pop_back();
      text_ += "...";
    }
    return std::move(text_);
  }

 private:
  static constexpr int deepest = 50;

  bool full() const { return text_.size() > most_; }
  void add(std::string_view piece) { text_ += piece; }

  void print_list(const List& items, int depth) {
    if (depth > deepest) return add("...");
    add("(list");
    for (const Value& item : items) {
      if (full()) return;
      add(" ");
      print(item, depth + 1);
    }
    add(")");
  }

  void print_map(const Map& map, int depth) {
    if (depth > deepest) return add("...");
    add("(hmap");
    for (const auto& [key, value] : map) {
      if (full()) return;
      add(" (");
      print(key, depth + 1);
      add(" ");
      print(value, depth + 1);
      add(")");
    }
    add(")");
  }

  void print_container(uint32_t index) {
    const Container& container = evaluator_.deployment.containers[index];
    add(fmt::format("(docker \"{}\"", container.image));
    for (const std::string& word : container.command) {
      if (full()) return;
      add(fmt::format(" \"{}\"", word));
    }
    add(")");
  }

  void print_attribute(const Attribute& attribute) {
    using Kind = Attribute::Kind;
    add(fmt::format("({}", builtin_of(attribute.kind)));
    if (!attribute.key.empty()) add(fmt::format(" \"{}\"", attribute.key));
    if (!attribute.text.empty()) add(fmt::format(" \"{}\"", attribute.text));
    if (attribute.kind == Kind::disk || attribute.kind == Kind::cpu || attribute.kind == Kind::ram ||
        attribute.kind == Kind::gpu || attribute.kind == Kind::idle_timeout)
      add(fmt::format(" {}", attribute.min));
    if (attribute.max > 0) add(fmt::format(" {}", attribute.max));
    add(")");
  }

  const Evaluator& evaluator_;
  size_t most_;
  std::string text_;
};

}  // namespace

std::string Evaluator::text_of(const Value& value, size_t most) const {
  Printer printer(*this, most);
  printer.print(value, 0);
  return printer.take();
}

std::string Evaluator::show(const Value& value) const {
  Printer printer(*this, 80);
  printer.print(value, value.is(Value::Kind::string) ? 1 : 0);
  return printable(printer.take());
}

}  // namespace rayctl::stitch
