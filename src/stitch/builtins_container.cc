// Containers and their labels.
#include <algorithm>

#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

Value docker(Evaluator& evaluator, const Call& call) {
  List words = flatten(evaluator.heap, call.values);
  if (words.empty()) evaluator.fail(call, "'docker' takes an image");
  Container container{.at = evaluator.position(*call.form)};
  size_t bytes = sizeof(Container) + container.at.file.size();
  for (const Value& word : words) {
    if (!word.is(Value::Kind::string))
      evaluator.fail(call, "'docker' takes an image and the words of a command, all strings, not {}: {}",
                     type_name(word.kind), evaluator.show(word));
    bytes += word.length + sizeof(std::string);
  }
  evaluator.heap.use(bytes);
  container.image = words[0].text();
  if (container.image.empty()) evaluator.fail(call, 0, "an image has a name");
  for (size_t i = 1; i < words.size(); ++i) container.command.emplace_back(words[i].text());
  auto& containers = evaluator.deployment.containers;
  container.id = static_cast<uint32_t>(containers.size() + 1);
  containers.push_back(std::move(container));
  return Value::indexed(Value::Kind::container, static_cast<uint32_t>(containers.size() - 1));
}

// What a label, the name of one, a container, or a list of these means: containers, by index.
std::vector<uint32_t> containers_of(Evaluator& evaluator, const Call& call, size_t i) {
  std::vector<uint32_t> found;
  for (const Value& item : flatten(evaluator.heap, {call[i]})) {
    if (item.is(Value::Kind::container)) {
      found.push_back(item.index);
      continue;
    }
    auto label = evaluator.find_label(item);
    if (!label || *label == evaluator.public_id())
      evaluator.fail(call, i, "'{}' takes containers and labels: {} is none", call.builtin->name,
                     item.is(Value::Kind::string)
                         ? fmt::format("there is no label {} that", evaluator.show(item))
                         : evaluator.show(item));
    for (uint32_t member : evaluator.deployment.labels[*label].members) found.push_back(member - 1);
  }
  evaluator.heap.step(found.size());
  return found;
}

Value set_env(Evaluator& evaluator, const Call& call) {
  const std::string key(evaluator.string(call, 1));
  const std::string value(evaluator.string(call, 2));
  if (key.empty() || key.find('=') != std::string::npos)
    evaluator.fail(call, 1, "'{}' can't be the name of an environment variable", printable(key));
  for (uint32_t index : containers_of(evaluator, call, 0)) {
    evaluator.heap.use(key.size() + value.size() + 2 * sizeof(std::string) + 48);
    evaluator.deployment.containers[index].env[key] = value;
  }
  return {};
}

Value label(Evaluator& evaluator, const Call& call) {
  const std::string name(evaluator.string(call, 0));
  if (name == public_label)
    evaluator.fail(call, 0, "label '{}' is reserved: it means the internet", public_label);
  if (evaluator.find_label(call[0]))
    evaluator.fail(call, 0, "label '{}' is defined already", printable(name));
  Label label{.name = name, .at = evaluator.position(*call.form)};
  std::vector<bool> in(evaluator.deployment.containers.size(), false);
  for (size_t i = 1; i < call.size(); ++i)
    for (uint32_t index : containers_of(evaluator, call, i)) {
      if (in[index]) continue;
      in[index] = true;
      label.members.push_back(index + 1);
    }
  evaluator.heap.step(in.size() / 64 + 1);
  evaluator.heap.use(sizeof(Label) + 2 * name.size() + 64 + label.members.size() * sizeof(uint32_t));
  return Value::indexed(Value::Kind::label, evaluator.add_label(std::move(label)));
}

const Label& label_at(Evaluator& evaluator, const Call& call) {
  return evaluator.deployment.labels[evaluator.label(call, 0)];
}

Value label_name(Evaluator& evaluator, const Call& call) {
  return evaluator.heap.string(label_at(evaluator, call).name);
}

Value label_host(Evaluator& evaluator, const Call& call) {
  return evaluator.heap.string(label_at(evaluator, call).name + ".q");
}

Value label_hosts(Evaluator& evaluator, const Call& call) {
  const Label& label = label_at(evaluator, call);
  List hosts;
  for (size_t i = 1; i <= label.members.size(); ++i)
    hosts.push_back(evaluator.heap.string(fmt::format("{}.{}.q", i, label.name)));
  return evaluator.heap.list(std::move(hosts));
}

// (annotate label… "ACL"), and 2016's earlier (annotate ACL label…) with the kind as a string in front.
Value annotate(Evaluator& evaluator, const Call& call) {
  auto is_kind = [&](const Value& value) {
    return value.is(Value::Kind::string) && value.text() == "ACL" && !evaluator.find_label(value);
  };
  List items = flatten(evaluator.heap, call.values);
  if (items.empty() || (!is_kind(items.front()) && !is_kind(items.back())))
    evaluator.fail(call, "'annotate' takes labels and then \"ACL\"");
  if (is_kind(items.back()))
    items.pop_back();
  else
    items.erase(items.begin());
  for (const Value& item : items) {
    auto label = evaluator.find_label(item);
    if (!label || *label == evaluator.public_id())
      evaluator.fail(call, "'annotate' takes labels: {} is none", evaluator.show(item));
    auto& annotations = evaluator.deployment.labels[*label].annotations;
    if (std::find(annotations.begin(), annotations.end(), "ACL") == annotations.end()) {
      evaluator.heap.use(64);
      annotations.push_back("ACL");
    }
  }
  return {};
}

constexpr Builtin builtins[] = {
    {.name = "annotate", .fewest = 2, .most = any_number, .eager = annotate},
    {.name = "docker", .fewest = 1, .most = any_number, .eager = docker},
    {.name = "label", .fewest = 2, .most = any_number, .eager = label},
    {.name = "labelHost", .fewest = 1, .most = 1, .eager = label_host},
    {.name = "labelHosts", .fewest = 1, .most = 1, .eager = label_hosts},
    {.name = "labelName", .fewest = 1, .most = 1, .eager = label_name},
    {.name = "setEnv", .fewest = 3, .most = 3, .eager = set_env},
};

}  // namespace

std::optional<uint32_t> Evaluator::find_label(const Value& value) const {
  if (value.is(Value::Kind::label)) return value.index;
  if (!value.is(Value::Kind::string)) return std::nullopt;
  if (value.text() == public_label) return public_id();
  auto found = label_ids_.find(std::string(value.text()));
  if (found == label_ids_.end()) return std::nullopt;
  return found->second;
}

uint32_t Evaluator::label(const Call& call, size_t i) const {
  auto found = find_label(call[i]);
  if (found && *found != public_id()) return *found;
  if (!call[i].is(Value::Kind::string)) mismatch(call, i, "a label or the name of one");
  if (found) fail(call, i, "'{}' means the internet, which is no label here", public_label);
  std::vector<std::string> names;
  for (const Label& label : deployment.labels) names.push_back(label.name);
  std::string near = nearest(call[i].text(), names);
  fail(call, i, "there is no label '{}'{}", printable(call[i].text()),
       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
}

uint32_t Evaluator::add_label(Label label) {
  auto index = static_cast<uint32_t>(deployment.labels.size());
  label_ids_.emplace(label.name, index);
  deployment.labels.push_back(std::move(label));
  return index;
}

const std::string& Evaluator::label_name(uint32_t label) const {
  static const std::string internet = public_label;
  return label == public_id() ? internet : deployment.labels[label].name;
}

std::span<const Builtin> container_builtins() {
  return builtins;
}

}  // namespace rayctl::stitch
