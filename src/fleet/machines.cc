#include "fleet/machines.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl::fleet {

namespace {

constexpr size_t wants_per_call = 50;

cloud::MachineWant want_of(const MachineRecord& r, const std::string& cluster, const std::string& user_data) {
  return {.key = r.key,
          .cluster = cluster,
          .role = r.is_head() ? "head" : "worker",
          .region = r.region,
          .zone = r.zone,
          .sizes = r.sizes,
          .image = r.image,
          .disk_gb = r.disk_gb,
          .spot = r.spot,
          .max_price = r.max_price,
          .ssh_keys = r.ssh_keys,
          .user_data = user_data,
          .labels = r.labels};
}

// As the cloud knows it, from what we wrote down: enough to terminate it.
cloud::Machine machine_of(const MachineRecord& r, const std::string& cluster) {
  cloud::Machine machine;
  machine.id = r.id;
  machine.key = r.key;
  machine.cluster = cluster;
  machine.role = r.is_head() ? "head" : "worker";
  machine.provider = r.provider;
  machine.region = r.region;
  machine.zone = r.zone;
  machine.size = r.size;
  machine.public_address = r.public_address;
  machine.private_address = r.private_address;
  machine.spot = r.spot;
  return machine;
}

MachineRecord record_of(const Wish& wish, uint32_t head) {
  MachineRecord r;
  r.role = wish.role;
  r.provider = wish.provider;
  r.region = wish.region;
  r.zone = wish.zone;
  r.sizes = wish.sizes;
  r.image = wish.image;
  r.disk_gb = wish.disk_gb;
  r.spot = wish.spot;
  r.max_price = wish.max_price;
  r.group = wish.group;
  r.labels = wish.labels;
  r.ssh_keys = wish.ssh_keys;
  r.head = wish.is_head() ? 0 : head;
  r.price_hour = wish.price_hour;
  r.asked = cluster::wall_now();
  return r;
}

}  // namespace

bool is_final(cloud::FailureKind kind) {
  switch (kind) {
    case cloud::FailureKind::quota:
    case cloud::FailureKind::price:
    case cloud::FailureKind::unauthorized:
    case cloud::FailureKind::no_credentials:
    case cloud::FailureKind::invalid:
    case cloud::FailureKind::too_large:
      return true;
    case cloud::FailureKind::capacity:
    case cloud::FailureKind::throttled:
    case cloud::FailureKind::not_found:
    case cloud::FailureKind::transient:
      return false;
  }
  return false;
}

Regions Machines::regions(const Wishes& wishes) const {
  Regions regions(ledger_.data().places.begin(), ledger_.data().places.end());
  for (const MachineRecord& r : ledger_.data().machines)
    if (r.phase != Phase::gone) regions.emplace(r.provider, r.region);
  for (const Wish& wish : wishes.machines) regions.emplace(wish.provider, wish.region);
  return regions;
}

Reconciled Machines::look(const Regions& regions, const PlanTimes& times) {
  Sighting sighting = clouds_.look(ledger_.data().name, regions);
  Reconciled result = reconcile(ledger_.data().machines, sighting, ledger_.data().uid, times);
  for (uint32_t number : result.changed) {
    MachineRecord* r = ledger_.find(number);
    if (r && !r->size.empty() && (!r->price_hour || r->sizes.empty() || r->size != r->sizes.front()))
      r->price_hour = clouds_.price(r->provider, r->region, r->size, r->spot);
  }
  if (!result.changed.empty()) ledger_.commit();
  forget_documents();
  for (const cloud::Machine& machine : result.doubles)
    warn("ending {} in {}: machine {} runs a second time", machine.id, machine.region,
         number_of_key(machine.key).value_or(0));
  end(result.doubles);
  return result;
}

void Machines::prepare(const Regions& regions, const cloud::Firewall& firewall) {
  LedgerData& data = ledger_.data();
  for (const auto& place : regions)
    if (std::find(data.places.begin(), data.places.end(), place) == data.places.end())
      data.places.push_back(place);
  data.acl = firewall.admin_cidrs;
  ledger_.commit();
  std::map<std::string, std::vector<std::string>> by_provider;
  for (const auto& [provider, region] : regions) by_provider[provider].push_back(region);
  for (const auto& [name, names] : by_provider) clouds_.provider(name).prepare(data.name, names, firewall);
}

std::vector<uint32_t> Machines::enlist(const std::vector<Wish>& wishes, uint32_t head) {
  std::vector<uint32_t> numbers;
  for (const Wish& wish : wishes) numbers.push_back(ledger_.add(record_of(wish, head)).number);
  if (!numbers.empty()) ledger_.commit();
  return numbers;
}

BootResult Machines::boot(const std::vector<uint32_t>& numbers,
                          const std::function<std::string(const MachineRecord&)>& document) {
  // Written down first: the documents, then the records that refer to them.
  std::map<std::string, std::string> documents;  // by hash
  std::map<std::string, std::vector<cloud::MachineWant>> by_provider;
  make_directories(home_.user_data(), 0700);
  for (uint32_t number : numbers) {
    MachineRecord& r = *ledger_.find(number);
    if (r.user_data.empty() || !exists(join(home_.user_data(), r.user_data))) {
      std::string text = document(r);
      r.user_data = hex(sha256(text));
      if (documents.emplace(r.user_data, text).second)
        replace_file(join(home_.user_data(), r.user_data), text, 0600);
    } else if (documents.count(r.user_data) == 0) {
      documents[r.user_data] = read_file(join(home_.user_data(), r.user_data));
    }
    r.refused = false;
    r.error.clear();
    r.asked = cluster::wall_now();
  }
  ledger_.commit();
  for (uint32_t number : numbers) {
    const MachineRecord& r = *ledger_.find(number);
    by_provider[r.provider].push_back(want_of(r, ledger_.data().name, documents[r.user_data]));
  }
  // Machines that differ in nothing but their key share calls: neighbours in one chunk.
  struct Chunk {
    cloud::Provider* provider;
    std::vector<cloud::MachineWant> wants;
  };
  std::vector<Chunk> chunks;
  size_t threads = 1;
  for (auto& [name, wants] : by_provider) {
    cloud::Provider& provider = clouds_.provider(name);
    threads = std::max(threads, provider.parallel_calls());
    for (cloud::MachineWant& want : wants) {
      bool fits = !chunks.empty() && chunks.back().provider == &provider &&
                  chunks.back().wants.size() < wants_per_call &&
                  chunks.back().wants.front().region == want.region;
      if (!fits) chunks.push_back({&provider, {}});
      chunks.back().wants.push_back(std::move(want));
    }
  }
  BootResult result;
  std::mutex mutex;
  std::exception_ptr stopped;
  auto take = [&](const std::string& key, const std::optional<cloud::Machine>& machine,
                  const std::optional<cloud::ProviderError>& error) {
    MachineRecord* r = ledger_.find(number_of_key(key).value_or(0));
    if (!r) return;
    if (machine) {
      r->phase = Phase::booted;
      r->id = machine->id;
      r->size = machine->size;
      r->public_address = machine->public_address;
      r->private_address = machine->private_address;
      if (r->sizes.empty() || r->size != r->sizes.front())
        r->price_hour = clouds_.price(r->provider, r->region, r->size, r->spot);
      ++result.booted;
    } else if (error) {
      r->error = error->message();
      // After these nobody knows whether there is a machine.
      r->refused =
          error->kind() != cloud::FailureKind::transient && error->kind() != cloud::FailureKind::throttled;
      result.failures.push_back({r->number, error->kind(), error->message()});
    }
  };
  in_parallel(chunks.size(), threads, [&](size_t i) {
    std::vector<cloud::Booted> answers;
    try {
      answers = chunks[i].provider->boot(chunks[i].wants);
    } catch (const cloud::ProviderError& e) {
      for (const cloud::MachineWant& want : chunks[i].wants) answers.push_back({want.key, std::nullopt, e});
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!stopped) stopped = std::current_exception();
      return;
    }
    std::lock_guard lock(mutex);
    for (const cloud::Booted& answer : answers) take(answer.key, answer.machine, answer.error);
    ledger_.commit();
  });
  if (stopped) std::rethrow_exception(stopped);
  forget_documents();
  return result;
}

void Machines::terminate(const std::vector<uint32_t>& numbers, const std::string& fate) {
  if (numbers.empty()) return;
  for (uint32_t number : numbers) {
    MachineRecord* r = ledger_.find(number);
    if (!r || !r->alive()) continue;
    // boot() writes the document down before it asks: without one the cloud never heard of this machine.
    bool never_asked = r->phase == Phase::wanted && r->user_data.empty();
    r->phase = Phase::ending;
    if (r->fate.empty()) r->fate = fate;
    if (r->refused || never_asked) {  // there is nothing to end
      r->phase = Phase::gone;
      r->ended = cluster::wall_now();
    }
  }
  ledger_.commit();
  terminate_ending();
}

void Machines::terminate_ending() {
  std::vector<cloud::Machine> machines;
  for (const MachineRecord& r : ledger_.data().machines)
    if (r.phase == Phase::ending && !r.id.empty()) machines.push_back(machine_of(r, ledger_.data().name));
  end(machines);
}

void Machines::end(const std::vector<cloud::Machine>& machines) {
  std::map<std::string, std::vector<cloud::Machine>> by_provider;
  for (const cloud::Machine& machine : machines) by_provider[machine.provider].push_back(machine);
  for (const auto& [name, part] : by_provider) clouds_.provider(name).terminate(part);
}

std::vector<cloud::Leftover> Machines::sweep(std::chrono::seconds patience) {
  std::map<std::string, std::vector<std::string>> by_provider;
  for (const auto& [provider, region] : regions()) by_provider[provider].push_back(region);
  std::vector<cloud::Leftover> left;
  for (const auto& [name, names] : by_provider) {
    std::vector<cloud::Leftover> found = clouds_.provider(name).sweep(ledger_.data().name, names, patience);
    left.insert(left.end(), found.begin(), found.end());
  }
  return left;
}

// A document holds a token: it goes as soon as no request can need it any more.
void Machines::forget_documents() {
  if (!exists(home_.user_data())) return;
  std::set<std::string> needed;
  for (MachineRecord& r : ledger_.data().machines) {
    if (r.phase == Phase::wanted)
      needed.insert(r.user_data);
    else
      r.user_data.clear();
  }
  for (const std::string& name : list_directory(home_.user_data()))
    if (needed.count(name) == 0) remove_tree(join(home_.user_data(), name));
}

}  // namespace rayctl::fleet
