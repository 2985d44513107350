#include "stitch/schedule.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/error.h"

namespace rayctl::stitch {

namespace {

enum class Verdict { allowed, machine_rule, neighbour, alone };

bool matches(const Placement& rule, const Host& host) {
  return (rule.provider.empty() || canonical_provider(rule.provider) == canonical_provider(host.provider)) &&
         (rule.region.empty() || rule.region == host.region) && (rule.size.empty() || rule.size == host.size);
}

class Scheduler {
 public:
  Scheduler(const Deployment& deployment, const std::vector<Host>& hosts) : deployment_(deployment) {
    for (const Host& host : hosts) hosts_.push_back({&host, 0, {}});
    std::sort(hosts_.begin(), hosts_.end(), [](const Place& a, const Place& b) {
      return std::pair(a.host->name.size(), a.host->name) < std::pair(b.host->name.size(), b.host->name);
    });
    for (uint32_t i = 0; i < hosts_.size(); ++i) idle(hosts_[i]).emplace(0, i);
    read_rules();
    read_containers();
  }

  Schedule run(const std::map<uint32_t, std::string>& current) {
    std::vector<uint32_t> pending = keep(current);
    std::stable_sort(pending.begin(), pending.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(tasks_[a].follows, -tasks_[a].rules) < std::pair(tasks_[b].follows, -tasks_[b].rules);
    });
    std::vector<uint32_t> left = place_in_rounds(pending);
    if (!left.empty() && pending.size() <= 200) {
      for (uint32_t task : pending) take_off(task);
      budget_ = 50'000;
      if (!rearrange(pending, 0)) {
        for (uint32_t task : pending) take_off(task);
        place_in_rounds(pending);
      }
    }
    return result();
  }

 private:
  struct Place {
    const Host* host;
    uint32_t count;
    std::unordered_map<uint32_t, uint32_t> labels;  // those with label rules -> containers here
  };
  struct Task {
    const Container* container;
    std::vector<uint32_t> labels = {};  // those that rules speak of
    std::vector<const Placement*> machine_rules = {};
    bool head = false;
    bool named = false;    // a rule says on which machines it runs: then the Master isn't preferred
    bool follows = false;  // has an "on" rule with a label
    int rules = 0;
    std::optional<uint32_t> at = {};
  };

  std::set<std::pair<uint32_t, uint32_t>>& idle(const Place& place) {
    return place.host->role == master_role ? masters_ : workers_;
  }

  uint32_t label_id(const std::string& name) {
    auto [found, fresh] = label_ids_.emplace(name, static_cast<uint32_t>(apart_.size()));
    if (fresh) {
      apart_.emplace_back();
      beside_.emplace_back();
      machine_rules_.emplace_back();
    }
    return found->second;
  }

  void read_rules() {
    for (const Placement& rule : deployment_.placements) {
      uint32_t target = label_id(rule.target);
      if (rule.other_label.empty()) {
        machine_rules_[target].push_back(&rule);
        continue;
      }
      uint32_t other = label_id(rule.other_label);
      if (!rule.exclusive) {
        beside_[target].insert(other);
        continue;
      }
      apart_[target].insert(other);
      apart_[other].insert(target);
    }
  }

  // A port that is open to the internet is the machine's: each can give it to one container only.
  std::unordered_map<std::string, std::vector<uint32_t>> read_public_ports() {
    std::unordered_map<std::string, std::vector<uint32_t>> found;
    for (const Connection& connection : deployment_.connections) {
      if (connection.from != public_label) continue;
      uint32_t id = label_id(fmt::format(":{}", connection.min_port));  // no label's name has a colon
      apart_[id].insert(id);
      found[connection.to].push_back(id);
    }
    return found;
  }

  void read_containers() {
    auto ports = read_public_ports();
    std::unordered_map<uint32_t, uint32_t> index;
    for (const Container& container : deployment_.containers) {
      index.emplace(container.id, static_cast<uint32_t>(tasks_.size()));
      tasks_.push_back({.container = &container, .head = runs_head(container)});
    }
    for (const Label& label : deployment_.labels) {
      std::vector<uint32_t> ids;
      if (auto ruled = label_ids_.find(label.name); ruled != label_ids_.end()) ids.push_back(ruled->second);
      if (auto open = ports.find(label.name); open != ports.end())
        ids.insert(ids.end(), open->second.begin(), open->second.end());
      for (uint32_t member : label.members)
        if (auto found = index.find(member); found != index.end()) add_labels(tasks_[found->second], ids);
    }
  }

  void add_labels(Task& task, const std::vector<uint32_t>& ids) {
    for (uint32_t id : ids) {
      if (has(task, id)) continue;
      task.labels.push_back(id);
      const auto& rules = machine_rules_[id];
      task.machine_rules.insert(task.machine_rules.end(), rules.begin(), rules.end());
      task.named =
          task.named || !beside_[id].empty() ||
          std::any_of(rules.begin(), rules.end(), [](const Placement* rule) { return !rule->exclusive; });
      task.follows = task.follows || !beside_[id].empty();
      task.rules += static_cast<int>(1000 * rules.size() + apart_[id].size());
    }
  }

  bool has(const Task& task, uint32_t label) const {
    return std::find(task.labels.begin(), task.labels.end(), label) != task.labels.end();
  }

  void charge(uint64_t work) {
    work_ += work;
    if (work_ > 500'000'000)
      throw Error("cannot place the containers: there are too many of them and of machines for their rules");
  }

  Verdict judge(const Task& task, const Place& place, bool follow) {
    charge(1 + task.machine_rules.size());
    for (const Placement* rule : task.machine_rules)
      if (matches(*rule, *place.host) == rule->exclusive) return Verdict::machine_rule;
    for (uint32_t label : task.labels) {
      charge(apart_[label].size());
      for (uint32_t other : apart_[label])
        if (place.labels.count(other)) return Verdict::neighbour;
      if (!follow) continue;
      for (uint32_t other : beside_[label])
        if (!place.labels.count(other) && !has(task, other)) return Verdict::alone;
    }
    return Verdict::allowed;
  }

  void put_on(uint32_t task_index, uint32_t place_index) {
    Task& task = tasks_[task_index];
    Place& place = hosts_[place_index];
    task.at = place_index;
    idle(place).erase({place.count, place_index});
    idle(place).emplace(++place.count, place_index);
    for (uint32_t label : task.labels) ++place.labels[label];
  }

  void take_off(uint32_t task_index) {
    Task& task = tasks_[task_index];
    if (!task.at) return;
    Place& place = hosts_[*task.at];
    idle(place).erase({place.count, *task.at});
    idle(place).emplace(--place.count, *task.at);
    for (uint32_t label : task.labels)
      if (--place.labels[label] == 0) place.labels.erase(label);
    task.at.reset();
  }

  // May the container be on machines of that role at all?
  bool role_fits(const Task& task, const Host& host) const { return task.head || host.role != master_role; }

  std::vector<uint32_t> keep(const std::map<uint32_t, std::string>& current) {
    std::unordered_map<std::string, uint32_t> by_name;
    for (uint32_t i = 0; i < hosts_.size(); ++i) by_name.emplace(hosts_[i].host->name, i);
    std::vector<uint32_t> pending;
    for (bool follows : {false, true})
      for (uint32_t i = 0; i < tasks_.size(); ++i) {
        Task& task = tasks_[i];
        if (task.follows != follows) continue;
        auto had = current.find(task.container->id);
        auto place = had == current.end() ? by_name.end() : by_name.find(had->second);
        if (place != by_name.end() && role_fits(task, *hosts_[place->second].host) &&
            judge(task, hosts_[place->second], false) == Verdict::allowed)
          put_on(i, place->second);
        else
          pending.push_back(i);
      }
    // Those that were to be beside another that has gone elsewhere may not stay.
    for (uint32_t i = 0; i < tasks_.size(); ++i) {
      Task& task = tasks_[i];
      if (!task.follows || !task.at) continue;
      uint32_t at = *task.at;
      take_off(i);
      if (judge(task, hosts_[at], true) == Verdict::allowed)
        put_on(i, at);
      else
        pending.push_back(i);
    }
    return pending;
  }

  std::vector<uint32_t> candidates(const Task& task, bool follow, size_t most) {
    std::vector<uint32_t> found;
    auto collect = [&](const std::set<std::pair<uint32_t, uint32_t>>& from) {
      for (const auto& [count, index] : from) {
        if (found.size() >= most) return;
        if (judge(task, hosts_[index], follow) == Verdict::allowed) found.push_back(index);
      }
    };
    if (!task.head) {
      collect(workers_);
    } else if (task.named) {
      collect(masters_);
      collect(workers_);
    } else {
      collect(masters_);
      bool ruled_off = found.empty() && !masters_.empty() && !task.labels.empty();
      if (ruled_off) collect(workers_);
    }
    return found;
  }

  bool place_one(uint32_t index, bool follow) {
    std::vector<uint32_t> found = candidates(tasks_[index], follow, 1);
    if (found.empty()) return false;
    put_on(index, found.front());
    return true;
  }

  // Until a round places none: an "on" rule waits for the one that it names. Returns those without a place.
  std::vector<uint32_t> place_in_rounds(const std::vector<uint32_t>& pending) {
    std::vector<uint32_t> left = pending;
    for (bool progress = true; progress;) {
      progress = false;
      std::vector<uint32_t> again;
      for (uint32_t index : left)
        if (place_one(index, true))
          progress = true;
        else
          again.push_back(index);
      left = std::move(again);
      if (progress) continue;
      // Labels that are to be beside each other: one of them has to be the first.
      for (auto at = left.begin(); at != left.end(); ++at)
        if (tasks_[*at].follows && names_unplaced(tasks_[*at], left) && place_one(*at, false)) {
          left.erase(at);
          progress = true;
          break;
        }
    }
    return left;
  }

  // Do all its "on" rules name labels of which nothing runs yet, but something is about to?
  bool names_unplaced(const Task& task, const std::vector<uint32_t>& left) const {
    for (uint32_t label : task.labels)
      for (uint32_t other : beside_[label]) {
        for (const Place& place : hosts_)
          if (place.labels.count(other)) return false;
        if (std::none_of(left.begin(), left.end(), [&](uint32_t i) { return has(tasks_[i], other); }))
          return false;
      }
    return true;
  }

  bool rearrange(const std::vector<uint32_t>& pending, size_t from) {
    if (from == pending.size()) return true;
    for (uint32_t place : candidates(tasks_[pending[from]], true, hosts_.size())) {
      if (budget_ == 0) return false;
      --budget_;
      put_on(pending[from], place);
      if (rearrange(pending, from + 1)) return true;
      take_off(pending[from]);
    }
    return false;
  }

  std::string reason(const Task& task) {
    size_t fitting = 0, by_machine = 0, by_neighbour = 0, alone = 0;
    for (const Place& place : hosts_) {
      bool fits = task.head && !task.named && task.labels.empty() ? place.host->role == master_role
                                                                  : role_fits(task, *place.host);
      if (!fits) continue;
      ++fitting;
      switch (judge(task, place, true)) {
        case Verdict::allowed:
          break;
        case Verdict::machine_rule:
          ++by_machine;
          break;
        case Verdict::neighbour:
          ++by_neighbour;
          break;
        case Verdict::alone:
          ++alone;
          break;
      }
    }
    if (fitting == 0) return fmt::format("there is no {}", task.head ? master_role : worker_role);
    std::string text = fmt::format("no machine of {} is allowed by its placement rules:", fitting);
    if (by_machine) text += fmt::format(" {} by machine rules,", by_machine);
    if (by_neighbour)
      text += fmt::format(" {} by containers there that it must be apart from,", by_neighbour);
    if (alone) text += fmt::format(" {} for lack of the one it must be beside,", alone);
    text.pop_back();
    return text;
  }

  Schedule result() {
    Schedule made;
    for (const Task& task : tasks_)
      if (task.at)
        made.assigned.emplace(task.container->id, hosts_[*task.at].host->name);
      else
        made.unplaced.emplace(task.container->id, reason(task));
    return made;
  }

  const Deployment& deployment_;
  std::vector<Place> hosts_;
  std::set<std::pair<uint32_t, uint32_t>> masters_, workers_;  // (containers, index): the idlest first
  std::unordered_map<std::string, uint32_t> label_ids_;        // of labels that rules speak of
  std::vector<std::set<uint32_t>> apart_, beside_;
  std::vector<std::vector<const Placement*>> machine_rules_;
  std::vector<Task> tasks_;
  uint64_t work_ = 0;
  uint64_t budget_ = 0;
};

}  // namespace

bool runs_head(const Container& container) {
  return container.command == std::vector<std::string>{"run", "head"};
}

Schedule schedule(const Deployment& deployment, const std::vector<Host>& hosts,
                  const std::map<uint32_t, std::string>& current) {
  return Scheduler(deployment, hosts).run(current);
}

}  // namespace rayctl::stitch
