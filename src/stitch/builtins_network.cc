// Who may speak to whom, and where containers may run.
#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

// The labels that an argument (a label, a name, "public", a list of these) means.
std::vector<uint32_t> labels_in(Evaluator& evaluator, const Call& call, size_t i) {
  std::vector<uint32_t> found;
  for (const Value& item : flatten(evaluator.heap, {call[i]})) {
    auto label = evaluator.find_label(item);
    if (!label) {
      if (!item.is(Value::Kind::string))
        evaluator.fail(call, i, "'{}' takes labels here, not {}: {}", call.builtin->name,
                       type_name(item.kind), evaluator.show(item));
      evaluator.label(Call{call.builtin, call.form, {item}, false}, 0);  // says which name is near
    }
    found.push_back(*label);
  }
  return found;
}

struct Ports {
  uint16_t min, max;
};

Ports ports(Evaluator& evaluator, const Call& call) {
  int64_t min = 0, max = 0;
  if (call[0].is(Value::Kind::integer)) {
    min = max = call[0].integer;
  } else {
    if (!call[0].is(Value::Kind::list) || call[0].list->size() != 2 ||
        !(*call[0].list)[0].is(Value::Kind::integer) || !(*call[0].list)[1].is(Value::Kind::integer))
      evaluator.fail(call, 0, "'connect' takes a port, or (list first last), not {}",
                     evaluator.show(call[0]));
    min = (*call[0].list)[0].integer;
    max = (*call[0].list)[1].integer;
  }
  if (min < 0 || max > 65535 || min > max) evaluator.fail(call, 0, "there are no ports {} to {}", min, max);
  return {static_cast<uint16_t>(min), static_cast<uint16_t>(max)};
}

Value connect(Evaluator& evaluator, const Call& call) {
  Ports open = ports(evaluator, call);
  std::vector<uint32_t> from = labels_in(evaluator, call, 1), to;
  for (size_t i = 2; i < call.size(); ++i) {
    std::vector<uint32_t> more = labels_in(evaluator, call, i);
    to.insert(to.end(), more.begin(), more.end());
  }
  for (uint32_t source : from)
    for (uint32_t target : to) {
      evaluator.heap.step();
      bool from_public = source == evaluator.public_id(), to_public = target == evaluator.public_id();
      if (from_public && to_public) evaluator.fail(call, "cannot connect '{}' to itself", public_label);
      if ((from_public || to_public) && open.min != open.max)
        evaluator.fail(call, 0, "with '{}' it is one port, not a range", public_label);
      evaluator.add_connection(source, target, open.min, open.max, *call.form);
    }
  return {};
}

bool exclusive(Evaluator& evaluator, const Call& call) {
  std::string_view word = evaluator.string(call, 0);
  if (word != "exclusive" && word != "on")
    evaluator.fail(call, 0, "a rule is \"exclusive\" or \"on\", not '{}'", printable(word));
  return word == "exclusive";
}

Value label_rule(Evaluator& evaluator, const Call& call) {
  Rule rule{.exclusive = exclusive(evaluator, call)};
  for (size_t i = 1; i < call.size(); ++i)
    for (uint32_t label : labels_in(evaluator, call, i)) {
      if (label == evaluator.public_id()) evaluator.fail(call, i, "'{}' runs on no machine", public_label);
      evaluator.heap.use(evaluator.label_name(label).size());
      rule.labels.push_back(evaluator.label_name(label));
    }
  if (rule.labels.empty()) evaluator.fail(call, "'labelRule' takes labels");
  return evaluator.heap.rule(std::move(rule));
}

Value machine_rule(Evaluator& evaluator, const Call& call) {
  Rule rule{.exclusive = exclusive(evaluator, call)};
  for (const Value& item : flatten(evaluator.heap, List(call.values.begin() + 1, call.values.end()))) {
    using Kind = Attribute::Kind;
    if (item.is(Value::Kind::attribute) && item.attribute->kind == Kind::provider)
      rule.provider = item.attribute->text;
    else if (item.is(Value::Kind::attribute) && item.attribute->kind == Kind::region)
      rule.region = item.attribute->text;
    else if (item.is(Value::Kind::attribute) && item.attribute->kind == Kind::size)
      rule.size = item.attribute->text;
    else
      evaluator.fail(call, "'machineRule' takes (provider …), (region …) and (size …), not {}",
                     evaluator.show(item));
  }
  if (rule.provider.empty() && rule.region.empty() && rule.size.empty())
    evaluator.fail(call, "'machineRule' takes a (provider …), (region …) or (size …)");
  return evaluator.heap.rule(std::move(rule));
}

Value place(Evaluator& evaluator, const Call& call) {
  if (!call[0].is(Value::Kind::rule)) evaluator.mismatch(call, 0, "a labelRule or machineRule");
  const Rule& rule = *call[0].rule;
  for (size_t i = 1; i < call.size(); ++i)
    for (uint32_t label : labels_in(evaluator, call, i)) {
      if (label == evaluator.public_id()) evaluator.fail(call, i, "'{}' runs on no machine", public_label);
      Placement placement{.target = evaluator.label_name(label),
                          .exclusive = rule.exclusive,
                          .provider = rule.provider,
                          .region = rule.region,
                          .size = rule.size,
                          .at = evaluator.position(*call.form)};
      if (rule.labels.empty()) evaluator.add_placement(placement);
      for (const std::string& other : rule.labels) {
        placement.other_label = other;
        evaluator.add_placement(placement);
      }
    }
  return {};
}

constexpr Builtin builtins[] = {
    {.name = "connect", .fewest = 3, .most = any_number, .eager = connect},
    {.name = "labelRule", .fewest = 2, .most = any_number, .eager = label_rule},
    {.name = "machineRule", .fewest = 2, .most = any_number, .eager = machine_rule},
    {.name = "place", .fewest = 2, .most = any_number, .eager = place},
};

}  // namespace

void Evaluator::add_connection(uint32_t from, uint32_t to, uint16_t min, uint16_t max, const Node& at) {
  if (!seen_.insert(fmt::format("{} {} {} {}", from, to, min, max)).second) return;
  Connection connection{label_name(from), label_name(to), min, max, position(at)};
  heap.use(sizeof(Connection) + connection.from.size() + connection.to.size() + connection.at.file.size() +
           96);
  deployment.connections.push_back(std::move(connection));
}

void Evaluator::add_placement(Placement placement) {
  heap.step();
  std::string key = fmt::format("{} {} {}|{}|{}|{}", placement.exclusive ? "x" : "o", placement.target,
                                placement.other_label, placement.provider, placement.region, placement.size);
  heap.use(2 * key.size() + sizeof(Placement) + placement.at.file.size() + 96);
  if (seen_.insert(std::move(key)).second) deployment.placements.push_back(std::move(placement));
}

std::span<const Builtin> network_builtins() {
  return builtins;
}

}  // namespace rayctl::stitch
