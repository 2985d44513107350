// The names that rayctl reads once a spec is evaluated: Namespace, AdminACL, MaxPrice, Egress,
// MetadataAccess, githubKey and sshkey.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

// A string or a list of strings; empty when it is neither.
std::optional<std::vector<std::string>> strings_of(const Value& value) {
  if (value.is(Value::Kind::string)) return std::vector<std::string>{std::string(value.text())};
  if (!value.is(Value::Kind::list)) return std::nullopt;
  std::vector<std::string> found;
  for (const Value& item : *value.list) {
    if (!item.is(Value::Kind::string)) return std::nullopt;
    found.emplace_back(item.text());
  }
  return found;
}

}  // namespace

void Evaluator::read_binds(const Scope& scope) {
  auto bound = [&](const char* name) -> const Binding* {
    return find(symbols.intern(name), scope.head, nullptr);
  };
  auto node = [&](const Binding* binding) -> const Node& { return *defined_at_.at(binding->symbol); };
  deployment.name_space = default_namespace;
  if (const Binding* binding = bound("Namespace")) {
    if (!binding->value.is(Value::Kind::string))
      fail(node(binding), fmt::format("Namespace is a string, not {}", type_name(binding->value.kind)));
    if (std::string fault = namespace_fault(binding->value.text()); !fault.empty())
      fail(node(binding),
           fmt::format("cannot use the namespace '{}': {}", printable(binding->value.text()), fault));
    deployment.name_space = binding->value.text();
  }
  if (const Binding* binding = bound("AdminACL")) {
    auto networks = strings_of(binding->value);
    if (!networks)
      fail(node(binding), "AdminACL is a list of strings: networks like \"192.0.2.0/24\", or \"local\"");
    for (const std::string& network : *networks)
      if (network != "local" && !is_cidr(network))
        fail(node(binding),
             fmt::format("cannot use '{}' in AdminACL: it is no network like 192.0.2.0/24, nor local",
                         printable(network)));
    deployment.admin_acl = *networks;
  }
  if (const Binding* binding = bound("MaxPrice")) {
    const Value& value = binding->value;
    double price = value.is(Value::Kind::integer) ? static_cast<double>(value.integer)
                   : value.is(Value::Kind::real)  ? value.real
                                                  : -1;
    if (!(price >= 0) || price > 1e6) fail(node(binding), "MaxPrice is a number: $ an hour, 0 for no limit");
    deployment.max_price = price;
  }
  if (const Binding* binding = bound("Egress")) {
    bool text = binding->value.is(Value::Kind::string);
    auto egress = text ? egress_named(binding->value.text()) : std::nullopt;
    if (!egress)
      fail(node(binding),
           "Egress is \"open\" or \"declared\": containers reach everything outside, or what connect says");
    deployment.egress = *egress;
  }
  if (const Binding* binding = bound("MetadataAccess")) {
    auto labels = strings_of(binding->value);
    if (!labels) fail(node(binding), "MetadataAccess is a list of labels' names");
    for (const std::string& label : *labels)
      if (std::none_of(deployment.labels.begin(), deployment.labels.end(),
                       [&](const Label& l) { return l.name == label; }))
        fail(node(binding), fmt::format("cannot use '{}' in MetadataAccess: there is no label of that name",
                                        printable(label)));
    deployment.metadata_access = *labels;
  }
  read_keys(scope);
}

// For machines that have no key of their own.
void Evaluator::read_keys(const Scope& scope) {
  auto keys = [&](const char* name) {
    const Binding* binding = find(symbols.intern(name), scope.head, nullptr);
    if (!binding || binding->value.callable()) return std::vector<std::string>{};
    auto found = strings_of(binding->value);
    if (!found)
      fail(*defined_at_.at(binding->symbol), fmt::format("{} is a string or a list of strings", name));
    return *found;
  };
  std::vector<std::string> ssh = keys("sshkey"), github = keys("githubKey");
  if (ssh.empty() && github.empty()) return;
  for (Machine& machine : deployment.machines) {
    if (!machine.ssh_keys.empty() || !machine.github_keys.empty()) continue;
    for (const std::string& key : ssh) heap.use(key.size() + sizeof key);
    machine.ssh_keys = ssh;
    machine.github_keys = github;
  }
}

}  // namespace rayctl::stitch
