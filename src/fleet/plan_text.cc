#include "fleet/plan_text.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::fleet {

namespace {

struct Row {
  std::string verb, role, where, size, disk, how, price, which;
  size_t count = 0;
  std::vector<uint32_t> numbers;
};

std::string place_of(const std::string& provider, const std::string& region, const std::string& zone) {
  std::string text = provider;
  if (!region.empty()) text += " " + (zone.empty() ? region : zone);
  return text;
}

std::string how_of(bool spot, const std::string& image, const std::string& group) {
  std::string text = spot ? "spot" : "";
  if (!group.empty()) text += (text.empty() ? "group " : ", group ") + group;
  if (!image.empty()) text += (text.empty() ? "image " : ", image ") + image;
  return text;
}

Row row_of(const Wish& wish) {
  return {.verb = "boot",
          .role = wish.role,
          .where = place_of(wish.provider, wish.region, wish.zone),
          .size = wish.sizes.empty() ? "" : wish.sizes.front(),
          .disk = fmt::format("{} GB", wish.disk_gb),
          .how = how_of(wish.spot, wish.image, wish.group),
          .price = price_per_hour(wish.price_hour),
          .which = ""};
}

Row row_of(std::string verb, const MachineRecord& r) {
  return {.verb = std::move(verb),
          .role = r.role,
          .where = place_of(r.provider, r.region, r.zone),
          .size = !r.size.empty()   ? r.size
                  : r.sizes.empty() ? ""
                                    : r.sizes.front(),
          .disk = fmt::format("{} GB", r.disk_gb),
          .how = how_of(r.spot, r.image, r.group),
          .price = price_per_hour(r.price_hour),
          .which = ""};
}

// "Machine-2", "Machine-3..7", "Machine-3, 5, 9 and 40 more"
std::string name_numbers(std::vector<uint32_t> numbers) {
  if (numbers.empty()) return "";
  std::sort(numbers.begin(), numbers.end());
  std::string text;
  size_t shown = 0, i = 0;
  while (i < numbers.size() && shown < 6) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += text.empty() ? "Machine-" : ", ";
    text += fmt::format("{}", numbers[i]);
    if (last > i) text += fmt::format("{}{}", last == i + 1 ? ", " : "..", numbers[last]);
    i = last + 1;
    ++shown;
  }
  if (i < numbers.size()) text += fmt::format(" and {} more", numbers.size() - i);
  return text;
}

void add(std::vector<Row>& rows, Row row, uint32_t number) {
  for (Row& r : rows)
    if (r.verb == row.verb && r.role == row.role && r.where == row.where && r.size == row.size &&
        r.disk == row.disk && r.how == row.how && r.price == row.price) {
      ++r.count;
      if (number) r.numbers.push_back(number);
      return;
    }
  row.count = 1;
  if (number) row.numbers.push_back(number);
  rows.push_back(std::move(row));
}

const MachineRecord& record_of(const std::map<uint32_t, const MachineRecord*>& by_number, uint32_t number) {
  auto found = by_number.find(number);
  if (found == by_number.end()) throw Error("cannot show machine {}: it has no record", number);
  return *found->second;
}

std::map<uint32_t, const MachineRecord*> index(const std::vector<MachineRecord>& records) {
  std::map<uint32_t, const MachineRecord*> by_number;
  for (const MachineRecord& record : records) by_number[record.number] = &record;
  return by_number;
}

std::string align(const std::vector<std::vector<std::string>>& cells) {
  std::vector<size_t> widths;
  for (const auto& row : cells)
    for (size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : cells) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i)
      if (widths[i]) line += fmt::format(" {:<{}} ", row[i], widths[i]);
    while (!line.empty() && line.back() == ' ') line.pop_back();
    text += line + "\n";
  }
  return text;
}

std::string sum_text(const Cost& cost) {
  if (cost.unknown == 0) return dollars(cost.per_hour) + "/h";
  if (cost.unknown == cost.machines) return "?/h";
  return fmt::format("{}/h + ? for {} of unknown price", dollars(cost.per_hour), cost.unknown);
}

}  // namespace

Cost cost_after(const PlanPaper& paper) {
  Cost cost;
  auto count = [&](std::optional<double> price) {
    ++cost.machines;
    if (price)
      cost.per_hour += *price;
    else
      ++cost.unknown;
  };
  for (const Wish& wish : paper.plan.boot) count(wish.price_hour);
  auto by_number = index(paper.records);
  for (uint32_t number : paper.plan.keep) count(record_of(by_number, number).price_hour);
  for (uint32_t number : paper.plan.resume) count(record_of(by_number, number).price_hour);
  return cost;
}

std::string plan_text(const PlanPaper& paper) {
  const Plan& plan = paper.plan;
  auto by_number = index(paper.records);
  std::vector<Row> rows;
  for (const Wish& wish : plan.boot) add(rows, row_of(wish), 0);
  for (uint32_t n : plan.resume) add(rows, row_of("go on booting", record_of(by_number, n)), n);
  for (uint32_t n : plan.terminate) add(rows, row_of("terminate", record_of(by_number, n)), n);
  for (uint32_t n : plan.keep) add(rows, row_of("keep", record_of(by_number, n)), n);

  std::string text =
      fmt::format("Plan for {}: boot {}, terminate {}, keep {}\n", paper.name,
                  plan.boot.size() + plan.resume.size(), plan.terminate.size(), plan.keep.size());
  std::vector<std::vector<std::string>> cells;
  for (const Row& row : rows)
    cells.push_back({row.verb, row.count > 1 ? fmt::format("{} x", row.count) : "", row.role, row.where,
                     row.size, row.disk, row.price + (row.count > 1 ? " each" : ""), row.how,
                     name_numbers(row.numbers)});
  if (!cells.empty()) text += align(cells);
  if (plan.head_changes)
    text += "  The head is replaced, and every worker with it: the cluster starts anew.\n";
  if (paper.replaces_containers)
    text += "  The image changes: containers on machines that stay are ended and made anew.\n";
  cells.clear();
  for (const PlanSetting& setting : paper.settings) cells.push_back({setting.name, setting.value});
  if (!cells.empty()) text += align(cells);
  for (const std::string& remark : plan.remarks) text += "  warning: " + remark + "\n";

  Cost now, after = cost_after(paper);
  for (const MachineRecord& record : paper.records) {
    if (!record.alive() || record.id.empty()) continue;
    ++now.machines;
    if (record.price_hour)
      now.per_hour += *record.price_hour;
    else
      ++now.unknown;
  }
  std::string before = now.machines == 0 ? "" : fmt::format(" (now {})", sum_text(now));
  text += fmt::format("Price: {}{}\n", after.machines == 0 ? "$0/h" : sum_text(after), before);
  return text;
}

nlohmann::json plan_json(const PlanPaper& paper) {
  auto by_number = index(paper.records);
  auto machines = [&](const std::vector<uint32_t>& numbers) {
    nlohmann::json list = nlohmann::json::array();
    for (uint32_t number : numbers) list.push_back(to_json(record_of(by_number, number)));
    return list;
  };
  nlohmann::json boot = nlohmann::json::array();
  for (const Wish& wish : paper.plan.boot) {
    nlohmann::json item = {{"role", wish.role},    {"provider", wish.provider}, {"region", wish.region},
                           {"sizes", wish.sizes},  {"disk_gb", wish.disk_gb},   {"spot", wish.spot},
                           {"price_hour", nullptr}};
    if (wish.price_hour) item["price_hour"] = *wish.price_hour;
    if (!wish.zone.empty()) item["zone"] = wish.zone;
    if (!wish.image.empty()) item["image"] = wish.image;
    if (!wish.group.empty()) item["group"] = wish.group;
    boot.push_back(std::move(item));
  }
  nlohmann::json settings = nlohmann::json::object();
  for (const PlanSetting& setting : paper.settings) settings[setting.name] = setting.value;
  Cost after = cost_after(paper);
  return {{"namespace", paper.name},
          {"boot", std::move(boot)},
          {"resume", machines(paper.plan.resume)},
          {"terminate", machines(paper.plan.terminate)},
          {"keep", machines(paper.plan.keep)},
          {"head_changes", paper.plan.head_changes},
          {"replaces_containers", paper.replaces_containers},
          {"warnings", paper.plan.remarks},
          {"settings", std::move(settings)},
          {"price", {{"per_hour", after.per_hour}, {"unknown", after.unknown}}}};
}

}  // namespace rayctl::fleet
