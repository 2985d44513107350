#include "fleet/plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include "base/error.h"

namespace rayctl::fleet {

namespace {

bool running(const cloud::Machine& machine) {
  return machine.state == cloud::MachineState::requested || machine.state == cloud::MachineState::pending ||
         machine.state == cloud::MachineState::running;
}

template <class T>
bool update(T& field, const T& value) {
  if (field == value) return false;
  field = value;
  return true;
}

bool update_if_set(std::string& field, const std::string& value) {
  return !value.empty() && update(field, value);
}

WallTime seconds_of(std::chrono::system_clock::time_point time) {
  return std::chrono::floor<std::chrono::seconds>(time);
}

// What the cloud says of a machine that it has.
bool take_over(MachineRecord& record, const cloud::Machine& machine) {
  bool changed = update_if_set(record.id, machine.id);
  changed |= update_if_set(record.size, machine.size);
  changed |= update_if_set(record.public_address, machine.public_address);
  changed |= update_if_set(record.private_address, machine.private_address);
  if (record.launched == WallTime{} && machine.launched.time_since_epoch().count() != 0)
    changed |= update(record.launched, seconds_of(machine.launched));
  if (record.phase == Phase::wanted) changed |= update(record.phase, Phase::booted);
  changed |= update(record.refused, false);
  changed |= update(record.listed, true);
  return changed;
}

void end(MachineRecord& record, WallTime when, const std::string& fate) {
  record.phase = Phase::gone;
  record.ended = when;
  if (record.fate.empty()) record.fate = fate;
  record.user_data.clear();
}

MachineRecord adopt(const cloud::Machine& machine, uint32_t number, WallTime now) {
  MachineRecord record;
  record.number = number;
  record.key = machine.key;
  record.phase = Phase::booted;
  record.role = machine.role == "head" ? stitch::master_role : stitch::worker_role;
  record.provider = machine.provider;
  record.region = machine.region;
  record.sizes = {machine.size};
  record.disk_gb = machine.disk_gb;
  record.spot = machine.spot;
  record.asked = now;
  take_over(record, machine);
  return record;
}

std::string list_of(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

// All that makes wishes interchangeable: machines are matched class by class, not one by one.
auto class_key(const Wish& w) {
  return std::tie(w.role, w.provider, w.region, w.zone, w.sizes, w.fitting, w.disk_gb, w.spot, w.image,
                  w.group, w.labels);
}

auto class_key(const MachineRecord& r) {
  return std::tie(r.role, r.provider, r.region, r.zone, r.sizes, r.size, r.disk_gb, r.spot, r.image, r.group,
                  r.labels, r.head);
}

using WishKey = std::remove_cv_t<decltype(class_key(std::declval<const Wish&>()))>;
using RecordKey = std::remove_cv_t<decltype(class_key(std::declval<const MachineRecord&>()))>;

struct WishClass {
  std::vector<const Wish*> wishes;  // still without a machine
};

struct RecordClass {
  std::vector<const MachineRecord*> records;  // best first; taken from the front
  size_t taken = 0;
};

std::vector<RecordClass> classes_of(const std::vector<const MachineRecord*>& records,
                                    const std::set<uint32_t>& healthy) {
  std::map<RecordKey, RecordClass> classes;
  for (const MachineRecord* record : records) classes[class_key(*record)].records.push_back(record);
  std::vector<RecordClass> list;
  auto rank = [&](const MachineRecord* r) {
    return std::tuple(healthy.count(r->number) == 0, r->node.empty(), r->phase != Phase::booted, r->number);
  };
  for (auto& [key, value] : classes) {
    std::sort(value.records.begin(), value.records.end(),
              [&](const MachineRecord* a, const MachineRecord* b) { return rank(a) < rank(b); });
    list.push_back(std::move(value));
  }
  // The best machines first, whatever class they are of.
  std::sort(list.begin(), list.end(), [&](const RecordClass& a, const RecordClass& b) {
    return rank(a.records.front()) < rank(b.records.front());
  });
  return list;
}

void surplus(Plan& plan, const MachineRecord& record) {
  (record.refused ? plan.drop : plan.terminate).push_back(record.number);
}

// Fills the plan with the join of one role.
void join(Plan& plan, const std::vector<const Wish*>& wishes,
          const std::vector<const MachineRecord*>& records, const std::set<uint32_t>& healthy) {
  std::map<WishKey, size_t> index;
  std::vector<WishClass> wanted;  // in the spec's order
  for (const Wish* wish : wishes) {
    auto [place, fresh] = index.try_emplace(class_key(*wish), wanted.size());
    if (fresh) wanted.emplace_back();
    wanted[place->second].wishes.push_back(wish);
  }
  // Those that take only one size choose first: they have no other choice.
  std::vector<WishClass*> order;
  for (WishClass& c : wanted) order.push_back(&c);
  std::stable_sort(order.begin(), order.end(), [](const WishClass* a, const WishClass* b) {
    return a->wishes.front()->fitting.size() < b->wishes.front()->fitting.size();
  });
  std::vector<RecordClass> there = classes_of(records, healthy);
  for (WishClass* c : order) {
    size_t filled = 0;
    for (RecordClass& candidates : there) {
      if (filled == c->wishes.size()) break;
      if (!matches(*c->wishes.front(), *candidates.records.front())) continue;
      while (candidates.taken < candidates.records.size() && filled < c->wishes.size()) {
        const MachineRecord* record = candidates.records[candidates.taken++];
        (record->phase == Phase::wanted ? plan.resume : plan.keep).push_back(record->number);
        ++filled;
      }
    }
    c->wishes.erase(c->wishes.begin(), c->wishes.begin() + static_cast<ptrdiff_t>(filled));
  }
  for (const WishClass& c : wanted)
    for (const Wish* wish : c.wishes) plan.boot.push_back(*wish);
  for (const RecordClass& c : there)
    for (size_t i = c.taken; i < c.records.size(); ++i) surplus(plan, *c.records[i]);
}

}  // namespace

Reconciled reconcile(std::vector<MachineRecord>& records, const Sighting& sighting, std::string_view uid,
                     const PlanTimes& times) {
  Reconciled result;
  auto known_as = [&](const cloud::Machine& machine) {
    return std::any_of(records.begin(), records.end(), [&](const MachineRecord& record) {
      return record.key == machine.key && record.id == machine.id;
    });
  };
  std::unordered_map<std::string, const cloud::Machine*> by_key;
  for (const cloud::Machine& machine : sighting.machines) {
    if (!key_has_uid(machine.key, uid)) {
      if (running(machine)) result.foreign.push_back(machine);
      continue;
    }
    // Of a machine that was booted again under its key, the one that lives counts; of two, the one we know.
    auto [place, fresh] = by_key.try_emplace(machine.key, &machine);
    if (fresh) continue;
    const cloud::Machine*& chosen = place->second;
    const cloud::Machine* other = &machine;
    if (!running(*chosen) || (running(machine) && known_as(machine))) std::swap(chosen, other);
    if (running(*other)) result.doubles.push_back(*other);
  }
  std::set<std::string> known;
  for (MachineRecord& record : records) {
    known.insert(record.key);
    auto found = by_key.find(record.key);
    const cloud::Machine* machine = found == by_key.end() ? nullptr : found->second;
    bool was_booted = record.phase == Phase::booted;
    if (machine && running(*machine)) {
      // Also one that was taken for gone: a list lagged behind.
      bool back = record.phase == Phase::gone;
      if (back) record.phase = Phase::ending, record.ended = {};
      if (take_over(record, *machine) || back) result.changed.insert(record.number);
      continue;
    }
    if (record.phase == Phase::gone) continue;
    if (machine) {
      // A stopped machine costs its disk and comes back by nobody's hand: it is ended like the others.
      bool over = machine->state == cloud::MachineState::terminated ||
                  machine->state == cloud::MachineState::stopping;
      std::string why = machine->reason.empty() ? std::string(name_of(machine->state)) : machine->reason;
      if (over) {
        end(record, sighting.when, "lost: " + why);
      } else {
        record.phase = Phase::ending;
        if (record.fate.empty()) record.fate = "lost: " + why;
      }
      result.changed.insert(record.number);
      if (was_booted) result.lost.push_back(record.number);
      continue;
    }
    if (sighting.seen_regions.count({record.provider, record.region}) == 0) continue;
    bool fresh = sighting.prompt.count(record.provider) == 0 &&
                 sighting.when - record.asked < (record.listed ? times.settle : times.appear);
    if (record.phase == Phase::wanted) continue;  // asked again under its key
    if (fresh && !record.refused) continue;       // still to appear
    end(record, sighting.when, was_booted ? "lost: its cloud doesn't list it any more" : "ended");
    result.changed.insert(record.number);
    if (was_booted) result.lost.push_back(record.number);
  }
  for (const auto& [key, machine] : by_key) {
    std::optional<uint32_t> number = number_of_key(key);
    if (known.count(key) || !number || !running(*machine)) continue;
    records.push_back(adopt(*machine, *number, sighting.when));
    result.adopted.push_back(*number);
    result.changed.insert(*number);
  }
  std::sort(result.adopted.begin(), result.adopted.end());
  return result;
}

std::string difference(const Wish& w, const MachineRecord& r) {
  auto differs = [](std::string_view what, const std::string& is, const std::string& wanted) {
    return fmt::format("{} {}, not {}", what, is.empty() ? "none" : is, wanted.empty() ? "none" : wanted);
  };
  if (w.role != r.role) return differs("role", r.role, w.role);
  if (w.provider != r.provider) return differs("provider", r.provider, w.provider);
  if (w.region != r.region) return differs("region", r.region, w.region);
  if (w.zone != r.zone) return differs("zone", r.zone, w.zone);
  if (w.disk_gb != r.disk_gb)
    return differs("disk", fmt::format("{} GB", r.disk_gb), fmt::format("{} GB", w.disk_gb));
  if (w.spot != r.spot) return r.spot ? "spot, not on demand" : "on demand, not spot";
  if (w.image != r.image) return differs("machine image", r.image, w.image);
  if (w.group != r.group) return differs("group", r.group, w.group);
  if (w.labels != r.labels) return "other labels";
  const std::string& size = !r.size.empty() ? r.size : r.sizes.empty() ? r.size : r.sizes.front();
  const std::vector<std::string>& good = w.fitting.empty() ? w.sizes : w.fitting;
  if (std::find(good.begin(), good.end(), size) == good.end()) return differs("size", size, list_of(w.sizes));
  return "";
}

bool matches(const Wish& wish, const MachineRecord& record) {
  return difference(wish, record).empty();
}

Plan make_plan(const Wishes& wishes, const std::vector<MachineRecord>& records,
               const std::set<uint32_t>& healthy) {
  Plan plan;
  plan.remarks = wishes.remarks;
  std::vector<const MachineRecord*> heads, workers;
  for (const MachineRecord& record : records)
    if (record.alive()) (record.is_head() ? heads : workers).push_back(&record);
  if (wishes.blocked) {
    plan.remarks.push_back(*wishes.blocked);
    for (const MachineRecord& record : records)
      if (record.phase == Phase::booted) plan.keep.push_back(record.number);
    return plan;
  }
  std::vector<const Wish*> wanted_heads, wanted_workers;
  for (const Wish& wish : wishes.machines) (wish.is_head() ? wanted_heads : wanted_workers).push_back(&wish);

  join(plan, wanted_heads, heads, healthy);
  uint32_t head = !plan.keep.empty() ? plan.keep.front() : !plan.resume.empty() ? plan.resume.front() : 0;
  plan.head_changes = head == 0 && std::any_of(records.begin(), records.end(), [](const MachineRecord& r) {
                        return r.alive() && !r.refused;
                      });
  std::vector<const MachineRecord*> of_this_head;
  for (const MachineRecord* worker : workers) {
    if (head != 0 && (worker->head == head || worker->head == 0))
      of_this_head.push_back(worker);
    else
      surplus(plan, *worker);
  }
  join(plan, wanted_workers, of_this_head, healthy);
  std::sort(plan.keep.begin(), plan.keep.end());
  std::sort(plan.resume.begin(), plan.resume.end());
  std::sort(plan.terminate.begin(), plan.terminate.end());
  return plan;
}

}  // namespace rayctl::fleet
