// A provider by itself, for functional tests:
//   cloud PROVIDER [endpoint=URL] [prices=FILE] [network=N] [project=P] COMMAND [ARGUMENT…] [KEY=VALUE…]
// Commands: account | place TEXT | size REGION NAME | choose REGION cpus=A-B ram=A-B max_price=P gpu=T gpus=N
// spot=1
//   prepare CLUSTER REGION,… admin=CIDR,… ports=80-81,… peers=IP,…    rehearse, boot CLUSTER REGION first=1
//   count=N … list CLUSTER [REGION,…] | terminate CLUSTER [REGION,…] ids=ID,… | sweep CLUSTER REGION,…
//   patience=S | console REGION ID cycle CLUSTER REGION count=N …: prepare, boot, boot again, list,
//   terminate, sweep with one provider; prints times
// Results are JSON lines; an error is {"error": text, "kind": name} and exit code 1.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud/prices.h"
#include "cloud/provider.h"

using namespace rayctl;
using namespace rayctl::cloud;
using nlohmann::json;

namespace {

struct Arguments {
  std::vector<std::string> plain = {};
  std::map<std::string, std::string> named = {};
  std::string at(size_t i) const { return i < plain.size() ? plain[i] : throw Error("too few arguments"); }
  std::string text(const std::string& key, const std::string& fallback = "") const {
    auto it = named.find(key);
    return it == named.end() ? fallback : it->second;
  }
  unsigned number(const std::string& key, unsigned fallback) const {
    return static_cast<unsigned>(std::stoul(text(key, std::to_string(fallback))));
  }
};

std::vector<std::string> list_of(const std::string& text) {
  return text.empty() ? std::vector<std::string>{} : split(text, ',');
}

Range range_of(const std::string& text) {
  if (text.empty()) return {};
  size_t dash = text.find('-');
  return {std::stod(text), dash == std::string::npos ? 0 : std::stod(text.substr(dash + 1))};
}

void say(const json& line) {
  std::cout << line.dump() << std::endl;
}

json to_json(const Size& size) {
  json out{{"name", size.name},
           {"cpus", size.cpus},
           {"ram", size.ram_gib},
           {"arch", size.arch},
           {"gpu", size.gpu},
           {"gpus", size.gpus},
           {"price", show_price(size.price_hour)}};
  return out;
}

json to_json(const Machine& m) {
  return {
      {"id", m.id},
      {"key", m.key},
      {"cluster", m.cluster},
      {"role", m.role},
      {"region", m.region},
      {"zone", m.zone},
      {"size", m.size},
      {"state", name_of(m.state)},
      {"public", m.public_address},
      {"private", m.private_address},
      {"spot", m.spot},
      {"reason", m.reason},
      {"disk", m.disk_gb},
      {"age", std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - m.launched)
                  .count()}};
}

Firewall firewall_of(const Arguments& a) {
  Firewall firewall{.admin_cidrs = list_of(a.text("admin")), .peer_addresses = list_of(a.text("peers"))};
  for (const std::string& ports : list_of(a.text("ports"))) {
    Range range = range_of(ports);
    firewall.public_ports.push_back({static_cast<uint16_t>(range.min), static_cast<uint16_t>(range.max)});
  }
  return firewall;
}

std::vector<MachineWant> wants_of(const Arguments& a) {
  MachineWant want{.cluster = a.at(0),
                   .role = a.text("role", "worker"),
                   .region = a.at(1),
                   .zone = a.text("zone"),
                   .sizes = list_of(a.text("sizes")),
                   .image = a.text("image"),
                   .disk_gb = a.number("disk", 32),
                   .spot = !a.text("spot").empty(),
                   .ssh_keys = list_of(a.text("keys"))};
  if (!a.text("max_price").empty()) want.max_price = std::stod(a.text("max_price"));
  if (!a.text("user_data").empty()) want.user_data = read_file(a.text("user_data"));
  for (const auto& [key, value] : a.named)
    if (key.starts_with("label.")) want.labels[key.substr(6)] = value;
  std::vector<MachineWant> wants;
  for (unsigned i = 0, first = a.number("first", 1); i < a.number("count", 1); ++i) {
    wants.push_back(want);
    wants.back().key = fmt::format("{}{}", a.text("prefix", "m-"), first + i);
  }
  return wants;
}

int report(const std::vector<Booted>& booted) {
  int code = 0;
  for (const Booted& one : booted) {
    if (one.machine) {
      say(to_json(*one.machine));
    } else {
      say({{"key", one.key}, {"error", one.error->message()}, {"kind", name_of(one.error->kind())}});
      code = 1;
    }
  }
  return code;
}

double seconds_of(const std::function<void()>& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int cycle(Provider& provider, const Arguments& a) {
  auto wants = wants_of(a);
  std::vector<Booted> first, second;
  std::vector<Machine> listed;
  std::vector<Leftover> left;
  json times;
  times["prepare"] = seconds_of([&] { provider.prepare(a.at(0), {a.at(1)}, firewall_of(a)); });
  times["boot"] = seconds_of([&] { first = provider.boot(wants); });
  times["again"] = seconds_of([&] { second = provider.boot(wants); });
  times["list"] = seconds_of([&] { listed = provider.list(a.at(0), {a.at(1)}); });
  size_t same = 0;
  for (size_t i = 0; i < first.size(); ++i)
    same += first[i].machine && second[i].machine && first[i].machine->id == second[i].machine->id;
  size_t listed_count = listed.size();
  times["terminate"] = seconds_of([&] { provider.terminate(listed); });
  times["sweep"] = seconds_of(
      [&] { left = provider.sweep(a.at(0), {a.at(1)}, std::chrono::seconds(a.number("patience", 20))); });
  say({{"same", same}, {"listed", listed_count}, {"left", left.size()}, {"times", times}});
  return 0;
}

int run(Provider& provider, const std::string& command, const Arguments& a) {
  if (command == "account") {
    say(provider.account());
  } else if (command == "place") {
    Place place = provider.place(a.at(0));
    say({{"region", place.region}, {"zone", place.zone}});
  } else if (command == "size") {
    say(to_json(provider.size(a.at(0), a.at(1))));
  } else if (command == "choose") {
    SizeWant want{.cpus = range_of(a.text("cpus")),
                  .ram_gib = range_of(a.text("ram")),
                  .arch = a.text("arch"),
                  .gpu = a.text("gpu"),
                  .gpus = a.number("gpus", 0),
                  .spot = !a.text("spot").empty()};
    if (!a.text("max_price").empty()) want.max_price = std::stod(a.text("max_price"));
    say(to_json(choose_sizes(provider.sizes(a.at(0)), want, provider.name()).at(0)));
  } else if (command == "prepare") {
    provider.prepare(a.at(0), list_of(a.at(1)), firewall_of(a));
  } else if (command == "rehearse") {
    provider.rehearse(wants_of(a).at(0));
  } else if (command == "boot") {
    return report(provider.boot(wants_of(a)));
  } else if (command == "list") {
    for (const Machine& m :
         provider.list(a.at(0), a.plain.size() > 1 ? list_of(a.at(1)) : std::vector<std::string>{}))
      say(to_json(m));
  } else if (command == "terminate") {
    std::vector<Machine> machines;
    auto regions = a.plain.size() > 1 ? list_of(a.at(1)) : std::vector<std::string>{};
    if (a.text("ids").empty())
      machines = provider.list(a.at(0), regions);
    else
      for (const std::string& id : list_of(a.text("ids")))
        machines.push_back({.id = id, .cluster = a.at(0), .region = regions.at(0), .zone = a.text("zone")});
    provider.terminate(machines);
  } else if (command == "sweep") {
    for (const Leftover& left :
         provider.sweep(a.at(0), list_of(a.at(1)), std::chrono::seconds(a.number("patience", 20))))
      say({{"kind", left.kind}, {"id", left.id}, {"region", left.region}, {"reason", left.reason}});
  } else if (command == "console") {
    auto text = provider.console(
        {.id = a.at(1), .cluster = a.text("cluster"), .region = a.at(0), .zone = a.text("zone")});
    say(text ? json(*text) : json(nullptr));
  } else if (command == "cycle") {
    return cycle(provider, a);
  } else {
    throw UsageError("unknown command '{}'", command);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  set_log({.level = std::getenv("CLOUD_DEBUG") ? Level::debug : Level::info});
  catch_interrupts();
  try {
    Arguments all;
    for (int i = 1; i < argc; ++i) {
      std::string word = argv[i];
      size_t equals = word.find('=');
      if (equals == std::string::npos)
        all.plain.push_back(word);
      else
        all.named[word.substr(0, equals)] = word.substr(equals + 1);
    }
    auto provider = provider_named(all.at(0), {.endpoint = all.text("endpoint"),
                                               .prices_file = all.text("prices"),
                                               .project = all.text("project"),
                                               .network = all.text("network")});
    std::string command = all.at(1);
    all.plain.erase(all.plain.begin(), all.plain.begin() + 2);
    return run(*provider, command, all);
  } catch (const ProviderError& e) {
    say({{"error", e.message()}, {"kind", name_of(e.kind())}});
  } catch (const std::exception& e) {
    say({{"error", e.what()}, {"kind", ""}});
  }
  return 1;
}
