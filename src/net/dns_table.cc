#include "net/dns_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "net/dns_message.h"
#include "net/resolv_conf.h"

namespace rayctl::net {

namespace {

constexpr size_t name_limit = 100000;
constexpr std::chrono::seconds ttl_limit{3600};

void check_name(const std::string& name) {
  bool good = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
  if (!good)
    throw Error("cannot use name '{}': names have lower-case letters, digits, '-', '_' and '.'",
                printable(name));
  encode_dns_name(name);
}

}  // namespace

std::string dns_table_text(const DnsTable& table) {
  nlohmann::json names = nlohmann::json::object(), reverse = names;
  for (const auto& [name, addresses] : table.names) {
    auto& list = names[name] = nlohmann::json::array();
    for (const Address& address : addresses) list.push_back(to_string(address));
  }
  for (const auto& [address, name] : table.reverse) reverse[to_string(address)] = name;
  nlohmann::json pools = nlohmann::json::array(), containers = pools;
  for (const Subnet& pool : table.pools) pools.push_back(to_string(pool));
  for (const DnsNamespace& c : table.containers) {
    containers.push_back({{"id", c.id}, {"netns", c.netns}});
    if (c.visible) containers.back()["visible"] = *c.visible;
  }
  nlohmann::json document = {{"version", table.version},
                             {"zone", table.zone},
                             {"ttl", table.ttl.count()},
                             {"pools", pools},
                             {"names", names},
                             {"reverse", reverse},
                             {"absent", table.absent},
                             {"containers", containers},
                             {"resolv_conf", table.resolv_conf},
                             {"upstreams", table.upstreams}};
  return document.dump(1) + "\n";
}

DnsTable parse_dns_table(std::string_view text, const std::string& name) {
  Json document = Json::parse(text, name);
  document.only({"version", "zone", "ttl", "pools", "names", "reverse", "absent", "containers", "resolv_conf",
                 "upstreams"});
  DnsTable table;
  table.version = document.at("version").size();
  table.zone = document.string_or("zone", table.zone);
  check_name(table.zone);
  uint64_t ttl = document.size_or("ttl", static_cast<uint64_t>(table.ttl.count()));
  if (ttl > static_cast<uint64_t>(ttl_limit.count()))
    throw Error("cannot use '{}.ttl': {} s is more than {} s", name, ttl, ttl_limit.count());
  table.ttl = std::chrono::seconds(ttl);
  for (const std::string& pool : document.strings_or_empty("pools"))
    table.pools.push_back(parse_subnet(pool));
  if (auto names = document.find("names")) {
    for (const auto& [key, list] : names->members()) {
      check_name(key);
      std::vector<Address>& addresses = table.names[key];
      for (const std::string& address : list.strings()) addresses.push_back(parse_address(address));
    }
    if (table.names.size() > name_limit)
      throw Error("cannot use '{}': it has more than {} names", name, name_limit);
  }
  if (auto reverse = document.find("reverse"))
    for (const auto& [address, target] : reverse->string_map()) {
      check_name(target);
      table.reverse[parse_address(address)] = target;
    }
  table.absent = document.strings_or_empty("absent");
  for (const std::string& absent : table.absent) check_name(absent);
  if (auto containers = document.find("containers"))
    for (const Json& item : containers->items()) {
      DnsNamespace& c = table.containers.emplace_back();
      c.id = item.at("id").string();
      c.netns = item.at("netns").string();
      if (auto visible = item.find("visible")) {
        c.visible = visible->strings();
        std::sort(c.visible->begin(), c.visible->end());
      }
    }
  table.resolv_conf = document.string_or("resolv_conf", table.resolv_conf);
  table.upstreams = document.strings_or_empty("upstreams");
  for (const std::string& upstream : table.upstreams) parse_upstream(upstream);
  return table;
}

void add_name(DnsTable& table, const std::string& name, const Address& address) {
  std::string full = name + "." + table.zone;
  check_name(full);
  std::vector<Address>& addresses = table.names[full];
  if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) addresses.push_back(address);
  table.reverse.emplace(address, full);
}

}  // namespace rayctl::net
