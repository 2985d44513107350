// What a keeper shows: each machine's stage, and the cluster as a whole.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "fleet/keeper_impl.h"

namespace rayctl::fleet {

namespace {

constexpr size_t console_lines = 8;
constexpr size_t consoles_at_once = 3;

std::string last_lines(const std::string& text, size_t count) {
  std::vector<std::string> lines;
  for (const std::string& line : split(text, '\n'))
    if (!trim(line).empty()) lines.push_back(printable(trim(line)));
  std::string out;
  for (size_t i = lines.size() > count ? lines.size() - count : 0; i < lines.size(); ++i)
    out += (out.empty() ? "" : "\n") + lines[i];
  return out;
}

// The units' output goes to the console too: what it shows before the node can speak for itself.
Stage stage_of_console(std::string_view text) {
  auto has = [&](std::string_view word) { return text.find(word) != std::string_view::npos; };
  if (has("waiting on port") || has("head unreachable") || has("cannot reach the head"))
    return Stage::joining;
  if (has("rayctl")) return Stage::installing;
  return Stage::booting;
}

}  // namespace

MachineView Keeper::Impl::view_of(const MachineRecord& r) {
  MachineView view;
  view.record = r;
  view.stage = r.phase == Phase::ending   ? Stage::ending
               : r.phase == Phase::wanted ? Stage::requested
                                          : Stage::booting;
  view.error = r.error;
  auto node = nodes.find(r.number);
  if (r.phase == Phase::booted && node != nodes.end()) {
    const NodeState& state = node->second;
    view.connected = state.present;
    view.stage = stage_by_name(state.stage).value_or(Stage::joined);
    view.detail = state.detail;
    view.login = state.login;
    if (!state.error.empty()) view.error = state.error;
    // It waits for what we bring.
    if (r.is_head() && image_delivery && view.stage == Stage::pulling)
      if (std::string text = image_delivery->state(); !text.empty()) {
        view.detail = text;
        view.error.clear();
      }
    if (!state.present) {
      view.stage = Stage::unhealthy;
      view.error = "the head hasn't heard of it for a while";
    }
    if (r.is_head() && !head_trouble.empty()) {
      view.connected = false;
      view.stage = Stage::unhealthy;
      view.error = head_trouble;
    }
  } else if (r.phase == Phase::booted) {
    auto console = consoles.find(r.number);
    if (console != consoles.end()) view.stage = stage_of_console(console->second);
    if (r.is_head() && secrets.claimed_head == r.number) {
      view.stage = Stage::joined;
      view.error = head_trouble;
    }
    if (!r.node.empty()) view.stage = Stage::joined;  // once; the head that knows more doesn't answer
    if (r.is_head() && delivery && !delivery->trouble().empty() && view.stage == Stage::booting)
      view.detail = delivery->trouble();
  }
  WallTime now = cluster::wall_now();
  auto [mark, fresh] = marks.try_emplace(r.number, Mark{view.stage, r.asked == WallTime{} ? now : r.asked});
  if (!fresh && mark->second.stage != view.stage) mark->second = {view.stage, now};
  view.since = mark->second.since;
  if (node != nodes.end() && node->second.since > 0 && view.connected)
    view.since = WallTime(std::chrono::seconds(node->second.since));
  bool on_its_way = view.stage != Stage::healthy && view.stage != Stage::ending;
  if (on_its_way && now - view.since > current->settings.stuck) {
    if (view.error.empty() && r.is_head() && !head_trouble.empty()) view.error = head_trouble;
    auto console = consoles.find(r.number);
    if (console != consoles.end()) view.console = last_lines(console->second, console_lines);
    if (node != nodes.end() && !node->second.log_tail.empty())
      view.console = last_lines(node->second.log_tail, console_lines);
  }
  return view;
}

// The console of machines that should be here by now, a few at a time: clouds answer slowly.
void Keeper::Impl::ask_consoles() {
  std::vector<const MachineRecord*> waiting;
  WallTime now = cluster::wall_now();
  for (const MachineRecord& r : ledger.data().machines)
    if (r.phase == Phase::booted && nodes.count(r.number) == 0 && now - r.asked > std::chrono::seconds(10))
      waiting.push_back(&r);
  for (size_t i = 0; i < waiting.size() && i < consoles_at_once; ++i) {
    const MachineRecord& r = *waiting[i];
    cloud::Machine machine;
    machine.id = r.id;
    machine.key = r.key;
    machine.cluster = name;
    machine.provider = r.provider;
    machine.region = r.region;
    machine.zone = r.zone;
    try {
      if (auto text = clouds->provider(r.provider).console(machine)) consoles[r.number] = std::move(*text);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      debug("the console of machine {}: {}", r.number, e.message());
    }
  }
}

ClusterLook Keeper::Impl::make_look() {
  ClusterLook look;
  look.name = name;
  look.acl = ledger.data().acl;
  look.error = error;
  look.when = cluster::wall_now();
  look.order = adopted;
  look.cost = cost_of(ledger.data().machines, look.when);
  look.containers = containers;
  look.remarks = plan.remarks;
  if (!foreign.empty())
    look.remarks.push_back(fmt::format(
        "{} machines of another rayctl have the name of this cluster: they are left alone", foreign.size()));
  if (const MachineRecord* machine = head_record()) look.head_address = operator_address(*machine);
  size_t well = 0, wanted = wishes.machines.size(), there = 0;
  std::map<std::string, size_t> stages;
  for (const MachineRecord& r : ledger.data().machines) {
    if (r.phase == Phase::gone) continue;
    MachineView view = view_of(r);
    if (r.alive()) {
      ++there;
      if (view.stage == Stage::healthy)
        ++well;
      else
        ++stages[std::string(name_of(view.stage))];
    }
    look.machines.push_back(std::move(view));
  }
  if (!current) return look;
  if (current->kind == Order::Kind::end) {
    look.progress = Progress::ending;
    if (!look.machines.empty())
      look.missing = fmt::format("{} machines are still there", look.machines.size());
    else
      look.missing = "removing what the machines left";
    if (blocked) look.progress = Progress::blocked;
    return look;
  }
  bool whole = wanted > 0 && plan.empty() && there == wanted && well == wanted && head_trouble.empty() &&
               error.empty() && image_before.empty();
  if (wishes.blocked) {
    look.progress = Progress::blocked;
    look.missing = *wishes.blocked;
  } else if (blocked) {
    look.progress = Progress::blocked;
    look.missing = error;
  } else if (whole) {
    look.progress = Progress::healthy;
    was_healthy = true;
  } else {
    look.progress = was_healthy ? Progress::degraded : there == 0 ? Progress::starting : Progress::waiting;
    look.missing = fmt::format("{} of {} machines are healthy", well, wanted);
    for (const auto& [stage, count] : stages) look.missing += fmt::format("; {} {}", count, stage);
    if (!image_before.empty())
      look.missing += fmt::format("; containers of {} are being replaced", image_before);
    if (!error.empty()) look.missing += "; " + error;
  }
  return look;
}

void Keeper::Impl::publish() {
  ClusterLook look = make_look();
  nlohmann::json json = to_json(look);
  bool same = false;
  {
    std::lock_guard lock(mutex);
    nlohmann::json before = to_json(shown);
    // Money grows by the second; that alone is no news.
    for (nlohmann::json* j : {&before, &json}) {
      j->erase("when");
      (*j)["cost"].erase("so_far");
    }
    same = before == json;
    bool was_ended = ended;
    shown = look;
    if (was_ended) shown.progress = Progress::ended;
  }
  if (same) return;
  if (exists(home.directory)) replace_file(home.view(), to_json(look).dump() + "\n", 0600);
  if (events.changed) events.changed(look);
}

}  // namespace rayctl::fleet
