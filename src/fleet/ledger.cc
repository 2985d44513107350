#include "fleet/ledger.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

namespace rayctl::fleet {

namespace {

constexpr size_t max_ledger = 256 << 20;

std::string make_uid() {
  static constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string uid;
  for (unsigned char byte : random_bytes(8)) uid += letters[byte % letters.size()];
  return uid;
}

}  // namespace

std::string to_text(const LedgerData& data) {
  nlohmann::json machines = nlohmann::json::array(), places = nlohmann::json::array();
  for (const MachineRecord& record : data.machines) machines.push_back(to_json(record));
  for (const auto& [provider, region] : data.places)
    places.push_back({{"provider", provider}, {"region", region}});
  nlohmann::json json = {{"version", 1},
                         {"namespace", data.name},
                         {"uid", data.uid},
                         {"next_number", data.next_number},
                         {"created", data.created.time_since_epoch().count()},
                         {"machines", std::move(machines)},
                         {"containers", data.containers},
                         {"acl", data.acl},
                         {"places", std::move(places)}};
  return json.dump() + "\n";
}

LedgerData parse_ledger(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  if (uint64_t version = json.at("version").size(); version != 1)
    throw Error("cannot read '{}': it has format {}, and this rayctl knows format 1 (use a newer rayctl)",
                name, version);
  LedgerData data;
  data.name = json.at("namespace").string();
  data.uid = json.at("uid").string();
  data.next_number = static_cast<uint32_t>(json.at("next_number").size());
  data.created = WallTime(std::chrono::seconds(json.at("created").integer()));
  for (const Json& machine : json.at("machines").items()) {
    data.machines.push_back(parse_machine_record(machine));
    data.next_number = std::max(data.next_number, data.machines.back().number + 1);
  }
  for (const auto& [id, number] : json.at("containers").members())
    data.containers[id] = static_cast<uint32_t>(number.size());
  data.acl = json.at("acl").strings();
  for (const Json& place : json.at("places").items())
    data.places.emplace_back(place.at("provider").string(), place.at("region").string());
  return data;
}

std::optional<LedgerData> read_ledger(const Home& home) {
  auto text = read_file_if_exists(home.machines(), max_ledger);
  if (!text) return std::nullopt;
  return parse_ledger(*text, home.machines());
}

Ledger::Ledger(const Home& home, const std::string& name_space) : home_(home) {
  if (auto data = read_ledger(home)) {
    data_ = std::move(*data);
    return;
  }
  data_.name = name_space;
  data_.uid = make_uid();
  data_.created = cluster::wall_now();
}

MachineRecord* Ledger::find(uint32_t number) {
  auto found = std::lower_bound(data_.machines.begin(), data_.machines.end(), number,
                                [](const MachineRecord& record, uint32_t n) { return record.number < n; });
  return found != data_.machines.end() && found->number == number ? &*found : nullptr;
}

MachineRecord& Ledger::add(MachineRecord record) {
  record.number = data_.next_number++;
  record.key = key_of(data_.uid, record.number);
  data_.machines.push_back(std::move(record));
  return data_.machines.back();
}

uint32_t Ledger::container_number(const std::string& id) {
  auto [place, fresh] = data_.containers.try_emplace(id, data_.next_number);
  if (fresh) ++data_.next_number;
  return place->second;
}

void Ledger::commit() {
  std::sort(data_.machines.begin(), data_.machines.end(),
            [](const MachineRecord& a, const MachineRecord& b) { return a.number < b.number; });
  for (const MachineRecord& record : data_.machines)
    data_.next_number = std::max(data_.next_number, record.number + 1);
  make_directories(home_.directory, 0700);
  replace_file(home_.machines(), to_text(data_), 0600);
}

}  // namespace rayctl::fleet
