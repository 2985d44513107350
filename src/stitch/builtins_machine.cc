// Machines and what they are made of. The last six makers of attributes are newer than 2016.
#include <cmath>

#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

using Kind = Attribute::Kind;

std::string filled(Evaluator& evaluator, const Call& call, size_t i) {
  std::string text(evaluator.string(call, i));
  if (text.empty()) evaluator.fail(call, i, "'{}' takes a string with something in it", call.builtin->name);
  if (text.find_first_of("\n\r") != std::string::npos) evaluator.fail(call, i, "this must be one line");
  return text;
}

Value attribute(Evaluator& evaluator, Kind kind, std::string text, double min = 0, double max = 0) {
  return evaluator.heap.attribute({.kind = kind, .text = std::move(text), .min = min, .max = max});
}

Value provider(Evaluator& evaluator, const Call& call) {
  const std::string name = filled(evaluator, call, 0);
  std::string canonical = canonical_provider(name);
  if (canonical.empty()) {
    std::string near = nearest(name, provider_names());
    evaluator.fail(call, 0, "there is no provider '{}'{}", printable(name),
                   near.empty() ? fmt::format(" (there are {})", fmt::join(provider_names(), ", "))
                                : fmt::format(" (did you mean '{}'?)", near));
  }
  return attribute(evaluator, Kind::provider, canonical);
}

Value role(Evaluator& evaluator, const Call& call) {
  const std::string name = filled(evaluator, call, 0);
  if (name != master_role && name != worker_role) {
    std::string near = nearest(name, {master_role, worker_role});
    evaluator.fail(call, 0, "a role is {} or {}, not '{}'{}", master_role, worker_role, printable(name),
                   near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
  }
  return attribute(evaluator, Kind::role, name);
}

template <Kind kind>
Value text_attribute(Evaluator& evaluator, const Call& call) {
  return attribute(evaluator, kind, filled(evaluator, call, 0));
}

Value disk_size(Evaluator& evaluator, const Call& call) {
  int64_t gigabytes = evaluator.integer(call, 0);
  if (gigabytes < 1 || gigabytes > 65536)
    evaluator.fail(call, 0, "a disk has 1 to 65536 GB, not {}", gigabytes);
  return attribute(evaluator, Kind::disk, "", static_cast<double>(gigabytes));
}

template <Kind kind>
Value range_attribute(Evaluator& evaluator, const Call& call) {
  double min = evaluator.number(call, 0), max = call.size() > 1 ? evaluator.number(call, 1) : 0;
  if (!(min >= 0) || !(max >= 0) || min > 1e6 || max > 1e6 || (call.size() > 1 && max < min))
    evaluator.fail(call, call.size() - 1, "'{}' takes the least and the most: {} to {} is no range",
                   call.builtin->name, min, max);
  return attribute(evaluator, kind, "", min, max);
}

Value spot(Evaluator& evaluator, const Call& call) {
  bool wanted = true;
  if (call.size() == 1) {
    if (!call[0].is(Value::Kind::boolean)) evaluator.mismatch(call, 0, "true or false");
    wanted = call[0].boolean;
  }
  return attribute(evaluator, Kind::spot, "", wanted ? 1 : 0);
}

// (gpu "A100" 2), (gpu "A100"), (gpu 2)
Value gpu(Evaluator& evaluator, const Call& call) {
  bool typed = call[0].is(Value::Kind::string);
  if (!typed && call.size() > 1) evaluator.mismatch(call, 0, "the type of GPU, a string");
  int64_t count = typed && call.size() == 1 ? 1 : evaluator.integer(call, call.size() - 1);
  if (count < 0 || count > 1024)
    evaluator.fail(call, call.size() - 1, "a machine has 0 to 1024 GPUs, not {}", count);
  return attribute(evaluator, Kind::gpu, typed ? filled(evaluator, call, 0) : "", static_cast<double>(count));
}

Value machine_label(Evaluator& evaluator, const Call& call) {
  return evaluator.heap.attribute({.kind = Kind::label,
                                   .text = std::string(evaluator.string(call, 1)),
                                   .key = filled(evaluator, call, 0)});
}

// (idleTimeout 600), (idleTimeout "10m")
Value idle_timeout(Evaluator& evaluator, const Call& call) {
  int64_t seconds = 0;
  if (call[0].is(Value::Kind::string)) {
    try {
      seconds = parse_duration(call[0].text()).count();
    } catch (const Error& e) {
      evaluator.fail(call, 0, "{}", e.message());
    }
  } else {
    seconds = evaluator.integer(call, 0);
  }
  if (seconds < 1 || seconds > 366 * 86400) evaluator.fail(call, 0, "an idle timeout is 1 second to a year");
  return attribute(evaluator, Kind::idle_timeout, "", static_cast<double>(seconds));
}

void set(Machine& machine, const Attribute& attribute) {
  auto whole = static_cast<uint32_t>(attribute.min);
  switch (attribute.kind) {
    case Kind::provider:
      machine.provider = attribute.text;
      break;
    case Kind::region:
      machine.region = attribute.text;
      break;
    case Kind::size:
      machine.size = attribute.text;
      break;
    case Kind::role:
      machine.role = attribute.text;
      break;
    case Kind::disk:
      machine.disk_gb = whole;
      break;
    case Kind::cpu:
      machine.cpu = {attribute.min, attribute.max};
      break;
    case Kind::ram:
      machine.ram = {attribute.min, attribute.max};
      break;
    case Kind::ssh_key:
      machine.ssh_keys.push_back(attribute.text);
      break;
    case Kind::github_key:
      machine.github_keys.push_back(attribute.text);
      break;
    case Kind::spot:
      machine.spot = attribute.min > 0;
      break;
    case Kind::image:
      machine.image = attribute.text;
      break;
    case Kind::gpu:
      machine.gpu = {attribute.text, whole};
      break;
    case Kind::group:
      machine.group = attribute.text;
      break;
    case Kind::label:
      machine.labels[attribute.key] = attribute.text;
      break;
    case Kind::idle_timeout:
      machine.idle_timeout = std::chrono::seconds(whole);
      break;
  }
}

void set_all(Evaluator& evaluator, const Call& call, Machine& machine, const List& attributes) {
  for (const Value& item : attributes) {
    if (!item.is(Value::Kind::attribute))
      evaluator.fail(call, "'{}' takes attributes of a machine, like (size \"m4.large\"), not {}: {}",
                     call.builtin->name, type_name(item.kind), evaluator.show(item));
    evaluator.heap.use(item.attribute->text.size() + item.attribute->key.size() + 32);
    set(machine, *item.attribute);
  }
}

Value machine(Evaluator& evaluator, const Call& call) {
  List attributes = flatten(evaluator.heap, call.values);
  Machine machine{.at = evaluator.position(*call.form)};
  evaluator.heap.use(sizeof(Machine) + machine.at.file.size());
  set_all(evaluator, call, machine, attributes);
  auto& machines = evaluator.deployment.machines;
  machine.id = static_cast<uint32_t>(machines.size() + 1);
  machines.push_back(std::move(machine));
  return Value::indexed(Value::Kind::machine, static_cast<uint32_t>(machines.size() - 1));
}

Value machine_attribute(Evaluator& evaluator, const Call& call) {
  List machines = flatten(evaluator.heap, {call[0]});
  List attributes = flatten(evaluator.heap, List(call.values.begin() + 1, call.values.end()));
  for (const Value& item : machines) {
    if (!item.is(Value::Kind::machine))
      evaluator.fail(call, 0, "'machineAttribute' takes machines, not {}: {}", type_name(item.kind),
                     evaluator.show(item));
    set_all(evaluator, call, evaluator.deployment.machines[item.index], attributes);
  }
  return evaluator.heap.list(std::move(machines));
}

constexpr Builtin builtins[] = {
    {.name = "cpu", .fewest = 1, .most = 2, .eager = range_attribute<Kind::cpu>},
    {.name = "diskSize", .fewest = 1, .most = 1, .eager = disk_size},
    {.name = "githubKey", .fewest = 1, .most = 1, .eager = text_attribute<Kind::github_key>},
    {.name = "machine", .fewest = 0, .most = any_number, .eager = machine},
    {.name = "machineAttribute", .fewest = 2, .most = any_number, .eager = machine_attribute},
    {.name = "provider", .fewest = 1, .most = 1, .eager = provider},
    {.name = "ram", .fewest = 1, .most = 2, .eager = range_attribute<Kind::ram>},
    {.name = "region", .fewest = 1, .most = 1, .eager = text_attribute<Kind::region>},
    {.name = "role", .fewest = 1, .most = 1, .eager = role},
    {.name = "size", .fewest = 1, .most = 1, .eager = text_attribute<Kind::size>},
    {.name = "sshkey", .fewest = 1, .most = 1, .eager = text_attribute<Kind::ssh_key>},
    // since 2026
    {.name = "gpu", .fewest = 1, .most = 2, .eager = gpu},
    {.name = "group", .fewest = 1, .most = 1, .eager = text_attribute<Kind::group>},
    {.name = "idleTimeout", .fewest = 1, .most = 1, .eager = idle_timeout},
    {.name = "machineImage", .fewest = 1, .most = 1, .eager = text_attribute<Kind::image>},
    {.name = "machineLabel", .fewest = 2, .most = 2, .eager = machine_label},
    {.name = "spot", .fewest = 0, .most = 1, .eager = spot},
};

}  // namespace

std::span<const Builtin> machine_builtins() {
  return builtins;
}

}  // namespace rayctl::stitch
