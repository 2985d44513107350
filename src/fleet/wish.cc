#include "fleet/wish.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::fleet {

namespace {

constexpr size_t max_alternatives = 5;  // beyond these a cloud that has nothing left won't have it either
constexpr double unknown_price = 1e9;

bool within(const stitch::Range& range, double value) {
  return value >= range.min && (range.max == 0 || value <= range.max);
}

bool asked(const stitch::Range& range) {
  return range.min != 0 || range.max != 0;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool fits(const stitch::Machine& machine, const cloud::Size& size) {
  if (size.arch != "x86_64") return false;
  if (!within(machine.cpu, size.cpus) || !within(machine.ram, size.ram_gib)) return false;
  if (machine.gpu.count == 0) return size.gpus == 0;
  return size.gpus >= machine.gpu.count &&
         (machine.gpu.type.empty() || lower(machine.gpu.type) == lower(size.gpu));
}

std::optional<double> price_of(const cloud::Size& size, bool spot) {
  return spot && size.spot_hour ? size.spot_hour : size.price_hour;
}

std::string describe(const stitch::Range& range, std::string_view unit) {
  if (range.max == 0) return fmt::format("at least {} {}", range.min, unit);
  if (range.min == range.max) return fmt::format("{} {}", range.min, unit);
  return fmt::format("{} to {} {}", range.min, range.max, unit);
}

std::string describe(const stitch::Machine& machine) {
  std::vector<std::string> parts;
  if (asked(machine.cpu)) parts.push_back(describe(machine.cpu, "CPUs"));
  if (asked(machine.ram)) parts.push_back(describe(machine.ram, "GiB of memory"));
  if (machine.gpu.count)
    parts.push_back(fmt::format("{} {}", machine.gpu.count,
                                machine.gpu.type.empty() ? std::string("GPUs") : machine.gpu.type + " GPUs"));
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string prefix(const stitch::Position& at) {
  std::string text = to_string(at);
  return text.empty() ? "" : text + ": ";
}

}  // namespace

std::optional<double> price_of(const std::vector<cloud::Size>& table, const std::string& size, bool spot) {
  for (const cloud::Size& s : table)
    if (s.name == size) return price_of(s, spot);
  return std::nullopt;
}

SizeChoice choose_size(const stitch::Machine& machine, double max_price,
                       const std::vector<cloud::Size>& table, const std::string& default_size) {
  bool ranges = asked(machine.cpu) || asked(machine.ram) || machine.gpu.count > 0;
  if (!machine.size.empty() || !ranges) {
    std::string size = machine.size.empty() ? default_size : machine.size;
    return {.sizes = {size}, .fitting = {}, .price_hour = price_of(table, size, machine.spot)};
  }
  std::vector<const cloud::Size*> fitting;
  for (const cloud::Size& size : table)
    if (fits(machine, size)) fitting.push_back(&size);
  auto key = [&](const cloud::Size* size) {
    return std::tuple(price_of(*size, machine.spot).value_or(unknown_price), size->cpus, size->ram_gib,
                      std::string_view(size->name));
  };
  std::sort(fitting.begin(), fitting.end(),
            [&](const cloud::Size* a, const cloud::Size* b) { return key(a) < key(b); });
  if (fitting.empty()) throw Error("no size has {}", describe(machine));
  SizeChoice choice;
  for (const cloud::Size* size : fitting) {
    std::optional<double> price = price_of(*size, machine.spot);
    if (max_price > 0 && (!price || *price > max_price)) continue;
    if (choice.sizes.empty()) choice.price_hour = price;
    if (choice.sizes.size() < max_alternatives) choice.sizes.push_back(size->name);
    choice.fitting.push_back(size->name);
  }
  if (choice.sizes.empty()) {
    std::optional<double> cheapest = price_of(*fitting.front(), machine.spot);
    throw Error(
        "no size with {} costs at most ${} an hour: the cheapest, {}, costs {} (raise MaxPrice, or ask for "
        "less)",
        describe(machine), max_price, fitting.front()->name,
        cheapest ? fmt::format("${}", *cheapest) : std::string("an unknown price"));
  }
  return choice;
}

Wishes wishes_of(const stitch::Deployment& deployment, const Catalog& catalog) {
  Wishes wishes;
  std::vector<Wish> workers;
  const stitch::Machine* head = nullptr;
  for (const stitch::Machine& machine : deployment.machines) {
    if (machine.role.empty()) {
      wishes.remarks.push_back(
          fmt::format("{}machine {} isn't booted: it has no role (add (role \"Worker\"))", prefix(machine.at),
                      machine.id));
      continue;
    }
    bool is_head = machine.role == stitch::master_role;
    if (is_head && head)
      throw Error("{}cannot have a second Master: a cluster has one head, and {} is it (make it a Worker)",
                  prefix(machine.at),
                  head->at.line ? to_string(head->at) : fmt::format("machine {}", head->id));
    Wish wish;
    try {
      cloud::Place place = catalog.place(machine.provider, machine.region);
      SizeChoice sizes =
          choose_size(machine, deployment.max_price, catalog.sizes(machine.provider, place.region),
                      catalog.default_size(machine.provider));
      wish = {.role = machine.role,
              .provider = machine.provider,
              .region = place.region,
              .zone = place.zone,
              .sizes = std::move(sizes.sizes),
              .fitting = std::move(sizes.fitting),
              .disk_gb = machine.disk_gb,
              .spot = machine.spot,
              .max_price = machine.spot && deployment.max_price > 0 ? std::optional(deployment.max_price)
                                                                    : std::nullopt,
              .image = machine.image,
              .group = machine.group,
              .labels = machine.labels,
              .ssh_keys = machine.ssh_keys,
              .price_hour = sizes.price_hour,
              .at = machine.at};
    } catch (Error& e) {
      std::string at = to_string(machine.at);
      e.prefix("{}", at.empty() ? fmt::format("machine {}", machine.id) : at);
      throw;
    }
    if (is_head) {
      head = &machine;
      wishes.machines.insert(wishes.machines.begin(), std::move(wish));
    } else {
      workers.push_back(std::move(wish));
    }
  }
  bool any_worker = !workers.empty();
  wishes.machines.insert(wishes.machines.end(), std::make_move_iterator(workers.begin()),
                         std::make_move_iterator(workers.end()));
  if (!head)
    wishes.blocked =
        "no machine has the role Master: nothing is booted until there is one, and at least one Worker";
  else if (!any_worker)
    wishes.blocked = "no machine has the role Worker: nothing is booted until there is at least one";
  return wishes;
}

}  // namespace rayctl::fleet
