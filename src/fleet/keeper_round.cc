// A keeper's rounds: look, plan, act.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "fleet/acl.h"
#include "fleet/binary.h"
#include "fleet/keeper_impl.h"

namespace rayctl::fleet {

void Keeper::Impl::round() {
  if (current->kind == Order::Kind::end) return end_round();
  // New workers need a token of the head: the link to it comes first.
  if (!head && secrets.claimed_head != 0) ask_head();
  try {
    keep_round();
  } catch (const cluster::Unreachable& e) {
    error = e.message();
    blocked = false;
    back_off();
  } catch (const cloud::ProviderError& e) {
    error = e.message();
    blocked = is_final(e.kind());
    back_off();
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    error = e.message();
    blocked = true;
    back_off();
  }
  if (Clock::now() >= next_head) {
    ask_head();
    next_head = Clock::now() + times.ask_head;
  }
  if (Clock::now() >= next_console) {
    ask_consoles();
    next_console = Clock::now() + times.console;
  }
}

void Keeper::Impl::keep_round() {
  if (wishes_due) {
    wishes = wishes_of(current->deployment, clouds->catalog());
    wishes_due = false;
  }
  if (Clock::now() < next_look) return;
  Reconciled seen = machines->look(machines->regions(wishes));
  for (uint32_t number : seen.lost) {
    const MachineRecord* r = ledger.find(number);
    warn("machine {} of {} is gone ({})", number, name, r ? r->fate : "");
  }
  plan = make_plan(wishes, ledger.data().machines, healthy);
  check_foreign(seen, plan);
  if (firewall_due && !wishes.blocked) prepare();
  bool busy = !plan.empty();
  if (busy && Clock::now() >= next_boot) {
    if (!verified) {
      clouds->verify_sizes(wishes.machines);
      verified = true;
    }
    act(plan);
    plan = make_plan(wishes, ledger.data().machines, healthy);
  } else if (!busy) {
    error.clear();
    blocked = false;
    retry = {};
  }
  machines->terminate_ending();
  bool settled =
      plan.empty() &&
      std::none_of(ledger.data().machines.begin(), ledger.data().machines.end(), [](const MachineRecord& r) {
        return r.phase == Phase::ending || (r.alive() && r.private_address.empty());
      });
  next_look = Clock::now() + (settled ? times.look_idle : times.look_busy);
}

// Somebody else's machines under this name: theirs stay theirs, and we don't mix ours among them.
void Keeper::Impl::check_foreign(const Reconciled& seen, const Plan& planned) {
  foreign.clear();
  for (const cloud::Machine& machine : seen.foreign) foreign.push_back(machine.id);
  if (foreign.empty()) return;
  std::string ids;
  for (size_t i = 0; i < foreign.size() && i < 3; ++i) ids += (i ? ", " : "") + foreign[i];
  if (foreign.size() > 3) ids += ", …";
  bool first = planned.keep.empty() && !planned.boot.empty();
  if (first)
    throw Error(
        "cannot use namespace '{}': {} of another rayctl {} its name there ({}) (choose another namespace, "
        "or end that "
        "cluster where it was made: rayctl down {})",
        name, foreign.size() == 1 ? "a machine" : fmt::format("{} machines", foreign.size()),
        foreign.size() == 1 ? "has" : "have", ids, name);
}

void Keeper::Impl::prepare() {
  cloud::Firewall firewall;
  std::string provider = wishes.machines.empty() ? "Local" : wishes.machines.front().provider;
  const Settings& s = current->settings;
  firewall.admin_cidrs =
      admin_cidrs(s.admin_cidrs.empty() ? current->deployment.admin_acl : s.admin_cidrs, [&] {
        return caller_address({.provider = provider, .endpoint = s.endpoint, .service = s.address_service});
      });
  firewall.public_ports = public_ports(current->deployment);
  Regions regions = machines->regions(wishes);
  if (regions.size() > 1)
    for (const MachineRecord& r : ledger.data().machines)
      if (r.phase == Phase::booted && !r.public_address.empty())
        firewall.peer_addresses.push_back(r.public_address +
                                          (r.public_address.find(':') == std::string::npos ? "/32" : "/128"));
  machines->prepare(regions, firewall);
  firewall_due = false;
}

void Keeper::Impl::act(const Plan& planned) {
  std::vector<uint32_t> heads, workers;
  enlist(planned, heads, workers);
  bool again = planned.boot.empty() && error.empty();  // workers that only waited for the head's address
  if (!planned.boot.empty()) publish();
  if (!again && heads.size() + workers.size() > 0)
    say("Attempt to boot machines.", fmt::format("count={}", heads.size() + workers.size()));
  BootResult result;
  auto add = [&](const BootResult& more) {
    result.booted += more.booted;
    result.failures.insert(result.failures.end(), more.failures.begin(), more.failures.end());
  };
  auto documents = [this](const MachineRecord& record) { return document_of(record); };
  if (!heads.empty()) add(machines->boot(heads, documents));
  // Workers are told the head's address: they follow as soon as it has one, here or a look or two later.
  const MachineRecord* machine = head_record();
  bool addressed = machine && machine->phase == Phase::booted && !operator_address(*machine).empty();
  fresh_token.clear();
  if (addressed && !workers.empty()) add(machines->boot(workers, documents));
  size_t waiting = addressed ? 0 : workers.size();
  if (heads.size() + workers.size() > 0 && waiting == 0 && result.failures.empty())
    say("Successfully booted machines.");
  if (result.booted && machines->regions().size() > 1) firewall_due = true;  // their addresses are new
  terminate(planned, result.failures.size() + waiting);
  failed(result);
}

// Journals what is new, and sorts out what is to be booted now.
void Keeper::Impl::enlist(const Plan& planned, std::vector<uint32_t>& heads, std::vector<uint32_t>& workers) {
  std::vector<Wish> more;
  for (uint32_t number : planned.resume)
    if (const MachineRecord* r = ledger.find(number)) (r->is_head() ? heads : workers).push_back(number);
  for (const Wish& wish : planned.boot) {
    if (!wish.is_head()) {
      more.push_back(wish);
      continue;
    }
    // A new head knows nothing of what the old one was told.
    secrets = {};
    write_secrets(home, secrets);
    head.reset();
    head_number = 0;
    told = false;
    for (uint32_t number : machines->enlist({wish}, 0)) {
      heads.push_back(number);
      ledger.find(number)->binary = source_for(wish.provider).sha256;
    }
  }
  const MachineRecord* machine = head_record();
  if (!machine) return;
  for (uint32_t number : machines->enlist(more, machine->number)) workers.push_back(number);
}

// What replaces something that didn't come is no surplus yet: as many stay as are missing.
void Keeper::Impl::terminate(const Plan& planned, size_t failures) {
  machines->terminate(planned.drop, "refused");
  std::vector<uint32_t> numbers = planned.terminate;
  numbers.resize(numbers.size() - std::min(numbers.size(), failures));
  if (numbers.empty()) return;
  say("Attempt to stop machines.", fmt::format("count={}", numbers.size()));
  machines->terminate(numbers, planned.head_changes ? "the head was replaced" : "not wanted any more");
  say("Successfully stopped machines.");
}

void Keeper::Impl::failed(const BootResult& result) {
  if (result.failures.empty()) {
    error.clear();
    blocked = false;
    retry = {};
    return;
  }
  std::map<std::string, size_t> texts;
  bool final = false;
  for (const BootFailure& failure : result.failures) {
    ++texts[failure.text];
    final = final || is_final(failure.kind);
  }
  error.clear();
  for (const auto& [text, count] : texts)
    error += (error.empty() ? "" : "; ") + (count > 1 ? fmt::format("{} machines: ", count) : "") + text;
  blocked = final;
  back_off();
  say("Failed to boot machines.", fmt::format("count={} error={}", result.failures.size(), error));
}

size_t Keeper::Impl::wanted_workers() const {
  return static_cast<size_t>(std::count_if(wishes.machines.begin(), wishes.machines.end(),
                                           [](const Wish& wish) { return !wish.is_head(); }));
}

DocumentInput Keeper::Impl::document_input() {
  DocumentInput input;
  input.settings = current->settings;
  input.image = current->settings.image;
  input.workers = wanted_workers();
  input.ssh_keys = {cluster_ssh_key(home, name)};
  return input;
}

std::string Keeper::Impl::document_of(const MachineRecord& record) {
  if (!root) root = cluster::Root::open_or_create(home.root());
  DocumentInput input = document_input();
  input.binary = source_for(record.provider);
  if (record.is_head()) {
    if (!record.binary.empty()) input.binary.sha256 = record.binary;
    return head_document(input, record, cluster::format_token(root->claim_token()));
  }
  const MachineRecord* head = head_record();
  if (!head) throw Error("cannot boot machine {}: its head is gone", record.number);
  // Theirs is the head's, also after this computer got a newer one.
  if (current->settings.binary_url.empty() && !head->binary.empty()) input.binary.sha256 = head->binary;
  return worker_document(input, record, head_address_for(record, *head), worker_token(input.workers));
}

// Where a machine of that provider fetches rayctl, when it is the first of its cluster.
const cloud::BinarySource& Keeper::Impl::source_for(const std::string& provider) {
  auto found = binaries.find(provider);
  if (found != binaries.end()) return found->second;
  bool local = provider == "Local" && current->settings.binary_url.empty();
  // Local's host hands out the program that runs there.
  cloud::BinarySource source = binary_source(local ? Settings{} : current->settings);
  if (source.urls.empty()) source.urls = {local ? local_binary() : delivered_binary()};
  return binaries.emplace(provider, std::move(source)).first->second;
}

// One token for all workers of a round. Before the head is ours nobody but us can make one.
std::string Keeper::Impl::worker_token(size_t count) {
  const Settings& s = current->settings;
  auto uses = static_cast<uint32_t>(std::clamp<size_t>(count, 1, 100000));
  MachineRecord* machine = head_record();
  if (!machine) throw Error("cannot make a join token: there is no head");
  if (secrets.claimed_head != machine->number) {
    if (secrets.early.empty() || secrets.early.back().record.uses_allowed < uses) {
      cluster::TokenStore::Created created = root->worker_token(s.token_life, uses, cluster::wall_now());
      secrets.early.push_back({cluster::format_token(created.token), created.record});
      write_secrets(home, secrets);
    }
    return secrets.early.back().token;
  }
  if (fresh_token.empty()) {
    if (!head) throw cluster::Unreachable("cannot make a join token: the head can't be reached yet");
    Json answer = head->request("token.create",
                                {{"role", "worker"}, {"seconds", s.token_life.count()}, {"uses", uses}});
    fresh_token = answer.at("token").string();
  }
  return fresh_token;
}

void Keeper::Impl::end_round() {
  if (Clock::now() < next_look) return;
  try {
    next_look = Clock::now() + times.look_busy;
    std::vector<uint32_t> alive;
    for (const MachineRecord& r : ledger.data().machines)
      if (r.alive()) alive.push_back(r.number);
    // What an interrupted boot left without an answer is asked for first.
    machines->look(machines->regions());
    if (!alive.empty()) {
      say("Attempt to stop machines.", fmt::format("count={}", alive.size()));
      machines->terminate(alive, "down");
      say("Successfully stopped machines.");
    }
    machines->terminate_ending();
    machines->look(machines->regions());
    bool gone = std::all_of(ledger.data().machines.begin(), ledger.data().machines.end(),
                            [](const MachineRecord& r) { return r.phase == Phase::gone; });
    error.clear();
    blocked = false;
    if (!gone) return;
    std::vector<cloud::Leftover> left = machines->sweep(times.sweep);
    if (!left.empty()) {
      for (const cloud::Leftover& thing : left)
        error += fmt::format("{}{} {} in {} is still there: {}", error.empty() ? "" : "; ", thing.kind,
                             thing.id, thing.region, thing.reason);
      back_off();
      return;
    }
    publish();
    remove_tree(home.directory);
    std::lock_guard lock(mutex);
    shown.progress = Progress::ended;
    ended = true;
  } catch (const cloud::ProviderError& e) {
    error = e.message();
    blocked = is_final(e.kind());
    back_off();
    next_look = Clock::now() + (blocked ? Clock::duration(times.retry_longest) : retry);
  }
}

}  // namespace rayctl::fleet
