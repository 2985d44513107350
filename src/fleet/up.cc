#include "fleet/up.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/claim.h"
#include "cluster/context.h"
#include "fleet/acl.h"
#include "fleet/binary.h"
#include "fleet/clouds.h"
#include "fleet/daemon.h"
#include "fleet/ledger.h"
#include "fleet/local_images.h"
#include "fleet/machines.h"
#include "fleet/quick.h"
#include "fleet/secrets.h"
#include "fleet/watch.h"

namespace rayctl::fleet {

namespace {

constexpr auto glance = std::chrono::milliseconds(300);

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string image_for(const stitch::Deployment& deployment, const Settings& settings) {
  return image_of(deployment).empty() ? settings.image : image_of(deployment);
}

// What the user didn't say is shown too: that is how they learn what they could say.
std::vector<PlanSetting> settings_of(const stitch::Deployment& deployment, const Settings& s,
                                     const std::vector<Wish>& wishes, Clouds& clouds,
                                     const std::string& image_before) {
  std::vector<PlanSetting> list;
  std::string image = (image_before.empty() ? "" : image_before + " -> ") + image_for(deployment, s);
  list.push_back({"image", image + (deployment.containers.empty()
                                        ? ""
                                        : fmt::format(" ({} containers)", deployment.containers.size()))});
  if (!s.local_images.empty())
    list.push_back({"from here", join_words(s.local_images) + " (sent to the head; no registry is asked)"});
  std::set<std::string> providers;
  for (const Wish& wish : wishes) providers.insert(wish.provider);
  for (const std::string& provider : providers)
    if (provider != "Local") list.push_back({"account", clouds.provider(provider).account()});
  const std::vector<std::string>& acl = s.admin_cidrs.empty() ? deployment.admin_acl : s.admin_cidrs;
  std::vector<std::string> ports;
  for (const cloud::Firewall::Ports& p : public_ports(deployment))
    ports.push_back(p.first == p.last ? fmt::format("{}", p.first) : fmt::format("{}-{}", p.first, p.last));
  list.push_back(
      {"firewall", fmt::format("open to {}{}", acl.empty() ? "local (this computer)" : join_words(acl),
                               ports.empty() ? "" : "; to everyone: TCP " + join_words(ports))});
  list.push_back({"network", s.overlay.empty() ? "the nodes' default (encrypted)" : s.overlay});
  list.push_back(
      {"rayctl", s.binary_url.empty() ? (s.binary.empty() ? "this program" : s.binary) : s.binary_url});
  if (deployment.max_price > 0)
    list.push_back({"MaxPrice", dollars(deployment.max_price) + "/h for each machine"});
  return list;
}

std::string lines_after(const UpWish& wish, const std::string& name) {
  return fmt::format("  go on:   {}\n  look:    rayctl machines {}\n  end it:  rayctl down {}\n", wish.again,
                     name, name);
}

// As it was when somebody looked last; else what the journal knows.
ClusterLook recorded(const Home& home, const std::string& name) {
  if (auto text = read_file_if_exists(home.view(), 256 << 20))
    return parse_look(Json::parse(*text, home.view()));
  LedgerData data = read_ledger(home).value_or(LedgerData{});
  ClusterLook look;
  look.name = name;
  look.acl = data.acl;
  look.when = cluster::wall_now();
  look.cost = cost_of(data.machines, look.when);
  for (MachineRecord& r : data.machines)
    if (r.phase != Phase::gone) look.machines.push_back({.record = std::move(r)});
  return look;
}

void print_interrupted(const UpWish& wish, const ClusterLook& look) {
  fmt::print(stderr, "\nStopped waiting, not the machines: {}\n{}", describe(look.cost),
             lines_after(wish, look.name));
}

void print_ready(const ClusterLook& look) {
  fmt::print(
      "\nCluster {} is healthy: {}\n"
      "  rayctl machines           its machines\n"
      "  rayctl status             its nodes\n"
      "  rayctl ps                 its containers\n"
      "  rayctl logs head          what Ray's head says, with the lines that begin a script\n"
      "  rayctl exec head python   a Python with the cluster's Ray\n"
      "  rayctl down {:<13} ends it\n",
      look.name, describe(look.cost), look.name);
}

// The keeper that works on the cluster: our own, or the daemon's, which writes down how it looks.
class Worker {
 public:
  Worker(const Paths& paths, const std::string& name, const Order& order, const std::string& what)
      : home_(home_of(name)), name_(name) {
    if (daemon_runs(paths)) {
      order_ = send_order(paths, name, order);
      return;
    }
    keeper_ = std::make_unique<Keeper>(home_, name, Ownership::take(home_, name, what), KeeperEvents{});
    order_ = keeper_->order(order);
    keeper_->start();
  }
  // Empty until there is one that answers our order.
  std::optional<ClusterLook> look() const {
    ClusterLook look;
    if (keeper_) {
      look = keeper_->look();
      if (keeper_->ended()) look.progress = Progress::ended;
    } else if (auto text = read_file_if_exists(home_.view(), 256 << 20)) {
      look = parse_look(Json::parse(*text, home_.view()));
    } else if (!exists(home_.machines())) {
      look = last_.value_or(ClusterLook{});
      look.name = name_;
      look.progress = Progress::ended;
      look.order = order_;
    }
    if (look.order < order_) return std::nullopt;
    last_ = look;
    return look;
  }
  void stop() {
    if (keeper_) keeper_->stop();
  }

 private:
  const Home home_;
  const std::string name_;
  std::unique_ptr<Keeper> keeper_;
  uint64_t order_ = 0;
  mutable std::optional<ClusterLook> last_;
};

// Shows it until `done` says so or the time is up; the last look. Throws Interrupted.
ClusterLook watch_until(const Worker& worker, std::chrono::seconds patience,
                        const std::function<bool(const ClusterLook&)>& done) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  Watch watch;
  ClusterLook last;
  while (true) {
    if (auto look = worker.look()) {
      last = std::move(*look);
      if (last.progress != Progress::ended) watch.show(last);
      if (done(last)) return last;
    }
    if (std::chrono::steady_clock::now() >= deadline) return last;
    wait_interruptibly(glance);
  }
}

void save_context(const ClusterLook& look, uint16_t port) {
  Home home = home_of(look.name);
  // Before the claim there is nobody that a context leads to.
  if (look.head_address.empty() || read_secrets(home).claimed_head == 0) return;
  cluster::Root root = cluster::Root::open(home.root());
  cluster::Contexts contexts;
  contexts.save(cluster::context_of_root(look.name, {look.head_address, port}, root, cluster::user_name()));
  contexts.use(look.name);
}

}  // namespace

PlanPaper plan_paper(const std::string& name, const stitch::Deployment& deployment, Settings& settings,
                     Clouds& clouds) {
  PlanPaper paper;
  paper.name = name;
  Wishes wishes = wishes_of(deployment, clouds.catalog());
  clouds.verify_sizes(wishes.machines);
  Home home = home_of(name);
  LedgerData data = read_ledger(home).value_or(LedgerData{});
  Regions regions(data.places.begin(), data.places.end());
  for (const MachineRecord& r : data.machines)
    if (r.phase != Phase::gone) regions.emplace(r.provider, r.region);
  for (const Wish& wish : wishes.machines) regions.emplace(wish.provider, wish.region);
  Reconciled seen = reconcile(data.machines, clouds.look(name, regions), data.uid.empty() ? "-" : data.uid);
  std::set<uint32_t> healthy;
  if (auto text = read_file_if_exists(home.view(), 256 << 20))
    for (const MachineView& m : parse_look(Json::parse(*text, home.view())).machines)
      if (m.stage == Stage::healthy) healthy.insert(m.record.number);
  paper.plan = make_plan(wishes, data.machines, healthy);
  std::string image_before;
  if (auto before = read_order(home); before && !paper.plan.keep.empty()) {
    image_before = image_for(before->deployment, before->settings);
    if (image_before == image_for(deployment, settings)) image_before.clear();
  }
  paper.replaces_containers = !image_before.empty();
  choose_binary(settings, paper.plan.boot, clouds);
  paper.settings = settings_of(deployment, settings, wishes.machines, clouds, image_before);
  paper.records = std::move(data.machines);
  if (!seen.foreign.empty()) {
    std::string text = fmt::format("{} machines with this namespace belong to another rayctl ({}, …)",
                                   seen.foreign.size(), seen.foreign.front().id);
    if (paper.plan.keep.empty() && !paper.plan.boot.empty())
      throw Error(
          "cannot use namespace '{}': {} (choose another, or end that cluster where it was made: rayctl down "
          "{})",
          name, text, name);
    paper.plan.remarks.push_back(text + ": they are left alone");
  }
  return paper;
}

bool confirm(const std::string& question, const std::string& otherwise) {
  if (isatty(0) != 1) throw UsageError("{}: there is no terminal to ask on ({})", question, otherwise);
  fmt::print(stderr, "{} [y/N] ", question);
  std::string line;
  char c = 0;
  while (true) {
    ssize_t got = read(0, &c, 1);
    if (got < 0 && errno == EINTR) throw_if_interrupted();
    if (got <= 0 || c == '\n') break;
    line += c;
  }
  std::string_view answer = trim(line);
  return answer == "y" || answer == "Y" || answer == "yes";
}

int up(const Paths& paths, const UpWish& asked) {
  catch_interrupts();
  UpWish wish = asked;
  adopt_local_images(join(paths.state_dir, "store"), wish.settings, wish.deployment);
  const std::string& name = wish.deployment.name_space;
  PlanPaper paper;
  {
    Clouds clouds(wish.settings, nullptr);
    paper = plan_paper(name, wish.deployment, wish.settings, clouds);
  }
  if (wish.form == Form::json && wish.dry_run)
    fmt::print("{}\n", plan_json(paper).dump(2));
  else
    fmt::print(wish.form == Form::json ? stderr : stdout, "{}", plan_text(paper));
  std::fflush(stdout);
  if (wish.dry_run) return 0;
  bool blocked = paper.plan.empty() && paper.plan.keep.empty();
  if (blocked) throw Error("cannot boot '{}': {}", name, join_words(paper.plan.remarks));
  if ((!paper.plan.empty() || paper.replaces_containers) && wish.answer == Answer::ask &&
      !confirm(fmt::format("Carry out this plan for {}?", name),
               "say yes beforehand: --yes; only look: --dry-run")) {
    fmt::print(stderr, "Nothing was changed.\n");
    return 1;
  }
  std::optional<Worker> worker;
  ClusterLook look;
  try {
    worker.emplace(paths, name,
                   Order{.kind = Order::Kind::keep, .deployment = wish.deployment, .settings = wish.settings},
                   "up");
    look = watch_until(*worker, wish.wait, [&](const ClusterLook& l) {
      bool ending = std::any_of(l.machines.begin(), l.machines.end(),
                                [](const MachineView& m) { return m.stage == Stage::ending; });
      return (l.progress == Progress::healthy && !ending) || l.progress == Progress::blocked;
    });
  } catch (const Interrupted&) {
    std::optional<ClusterLook> last;
    if (worker) {
      last = worker->look();
      worker->stop();
    }
    if (!last) last = recorded(home_of(name), name);  // no round of ours came to its end yet
    save_context(*last, wish.settings.control_port);
    if (!last->machines.empty()) print_interrupted(wish, *last);
    throw;
  }
  worker->stop();
  if (look.name.empty()) look.name = name;
  save_context(look, wish.settings.control_port);
  if (wish.form == Form::json) fmt::print("{}\n", to_json(look).dump(2));
  if (look.progress == Progress::healthy) {
    if (wish.form == Form::text) print_ready(look);
    return 0;
  }
  if (wish.wait.count() == 0) return 0;
  fmt::print(stderr, "{}\n{}", describe(look.cost), lines_after(wish, name));
  if (look.progress == Progress::blocked) throw Error("cannot bring up '{}': {}", name, look.missing);
  throw Error("'{}' isn't healthy after {}: {}", name, human_duration(wish.wait), look.missing);
}

int run(const Paths& paths, const UpWish& asked) {
  UpWish wish = asked;
  adopt_local_images(join(paths.state_dir, "store"), wish.settings, wish.deployment);
  const std::string& name = wish.deployment.name_space;
  if (!daemon_runs(paths))
    throw Error("cannot run '{}': no daemon is there to do it (start one in another terminal: rayctl daemon)",
                name);
  Clouds clouds(wish.settings, nullptr);
  Wishes wishes = wishes_of(wish.deployment, clouds.catalog());
  for (const std::string& remark : wishes.remarks) warn("{}", remark);
  if (wishes.blocked) warn("{}", *wishes.blocked);
  choose_binary(wish.settings, wishes.machines, clouds);
  send_order(paths, name,
             {.kind = Order::Kind::keep, .deployment = wish.deployment, .settings = wish.settings});
  return 0;
}

int down(const Paths& paths, const DownWish& wish) {
  catch_interrupts();
  std::string name = choose_cluster(wish.name);
  Home home = home_of(name);
  LedgerData data = read_ledger(home).value_or(LedgerData{});
  Cost before = cost_of(data.machines, cluster::wall_now());
  if (wish.answer == Answer::ask) {
    for (const MachineRecord& r : data.machines)
      if (r.phase != Phase::gone) fmt::print("{}\n", machine_line({.record = r}));
    std::fflush(stdout);
    if (!confirm(
            fmt::format("End {} with all of its machines ({}) and what is on them?", name, describe(before)),
            "say yes beforehand: --yes")) {
      fmt::print(stderr, "Nothing was changed.\n");
      return 1;
    }
  }
  Order order = read_order(home).value_or(Order{});
  order.kind = Order::Kind::end;
  Worker worker(paths, name, order, "down");
  ClusterLook look;
  try {
    look = watch_until(worker, wish.wait, [](const ClusterLook& l) {
      return l.progress == Progress::ended || l.progress == Progress::blocked;
    });
  } catch (const Interrupted&) {
    auto last = worker.look();
    worker.stop();
    fmt::print(stderr, "\nStopped waiting: {}\n  go on:  rayctl down {} --yes\n",
               last ? describe(last->cost) : "", name);
    throw;
  }
  worker.stop();
  if (look.progress != Progress::ended)
    throw Error("cannot end '{}': {} (again: rayctl down {} --yes)", name,
                look.error.empty() ? look.missing : look.error, name);
  cluster::Contexts contexts;
  if (contexts.has(name)) contexts.remove(name);
  double sum = std::max(look.cost.so_far, before.so_far);
  std::string cost = dollars(sum);
  if (wish.form == Form::json)
    fmt::print("{}\n", nlohmann::json{{"namespace", name}, {"cost", sum}, {"left", 0}}.dump(2));
  else
    fmt::print("Cluster {} is gone, and nothing of it is left. It cost {}{}.\n", name, cost,
               before.unknown ? " and what the machines of unknown price cost" : "");
  return 0;
}

std::string choose_cluster(const std::string& name) {
  std::vector<std::string> known = known_clusters();
  if (!name.empty()) {
    if (exists(home_of(name).machines())) return name;
    std::string near = nearest(name, known);
    throw Error("cannot find cluster '{}': {}", name,
                known.empty()  ? std::string("none was made on this computer")
                : near.empty() ? fmt::format("there are {}", join_words(known))
                               : fmt::format("did you mean '{}'? There are {}", near, join_words(known)));
  }
  if (known.empty()) throw Error("there is no cluster that was made on this computer (rayctl up makes one)");
  if (known.size() > 1) throw UsageError("which cluster? There are {}: name one", join_words(known));
  return known.front();
}

Looked look_at(const std::string& name) {
  Home home = home_of(name);
  Looked result;
  if (auto own = Ownership::try_take(home, look_at_it)) {
    try {
      result.look = Keeper::observe(home, name, std::move(*own));
      return result;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      result.trouble = e.message();
    }
  }
  result.look = recorded(home, name);
  return result;
}

}  // namespace rayctl::fleet
