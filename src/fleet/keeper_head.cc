// What a keeper does with the cluster's head.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "fleet/binary.h"
#include "fleet/keeper_impl.h"
#include "oci/credentials.h"
#include "oci/reference.h"

namespace rayctl::fleet {

namespace {

// Which user an image lets in, the likeliest first.
std::string logins_of(const std::string& provider) {
  if (provider == "Azure") return "ubuntu,azureuser,debian";
  return "ubuntu,debian,admin,ec2-user,core,rocky";
}

}  // namespace

// The head that counts: the one that is alive with the highest number.
MachineRecord* Keeper::Impl::head_record() {
  MachineRecord* found = nullptr;
  for (MachineRecord& r : ledger.data().machines)
    if (r.is_head() && r.alive()) found = &r;
  return found;
}

void Keeper::Impl::ask_head() {
  MachineRecord* machine = head_record();
  std::string address = machine && machine->phase == Phase::booted ? operator_address(*machine) : "";
  if (address.empty()) {
    head.reset();
    head_number = 0;
    delivery.reset();
    image_delivery.reset();
    nodes.clear();
    containers.clear();
    healthy.clear();
    return;
  }
  if (!root) root = cluster::Root::open_or_create(home.root());
  if (!head || head_number != machine->number || head->address().host != address) {
    head = std::make_unique<Head>(name, *root, cluster::HostPort{address, current->settings.control_port});
    head_number = machine->number;
    told = false;
  }
  if (observing && secrets.claimed_head != machine->number) return;
  try {
    if (secrets.claimed_head != machine->number) claim();
    if (!told && !observing) tell_head();
    std::vector<NodeState> states = parse_nodes(head->request("status", nlohmann::json::object()));
    if (!observing) forget_nodes(states);
    take_nodes(states);
    take_containers(head->request("ps", nlohmann::json::object()));
    head_trouble.clear();
  } catch (const cluster::Unreachable& e) {
    // It keeps what it last said: a head that restarts takes nothing from its workers.
    head_trouble = e.message();
    healthy.erase(machine->number);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    // Another root's head, someone in between, a clock that is off: time alone won't help.
    head_trouble = e.message();
    if (secrets.claimed_head != machine->number) {
      error = e.message();
      blocked = true;
    }
  }
}

void Keeper::Impl::claim() {
  MachineRecord* machine = head_record();
  bool delivers = current->settings.binary_url.empty() && machine->provider != "Local";
  if (delivers && !delivery)
    delivery = std::make_unique<Delivery>(home, binary_file(current->settings), operator_address(*machine),
                                          logins_of(machine->provider));
  std::vector<cluster::TokenRecord> tokens;
  for (Secrets::Early& early : secrets.early) {
    // They live from now on: how long the head took to boot isn't the workers' fault.
    early.record.expires = cluster::wall_now() + current->settings.token_life;
    tokens.push_back(early.record);
  }
  head->claim(tokens);
  secrets = {};
  secrets.claimed_head = machine->number;
  write_secrets(home, secrets);
  root->forget_claim_token();
  delivery.reset();
  cluster::Contexts contexts;
  contexts.save(head->context());
  if (!contexts.current()) contexts.use(name);
  say("Claimed the head.", fmt::format("machine={} address={}", machine->number, head->address().host));
}

// A machine that was given back or lost won't return: its node's certificate is void, its name free.
void Keeper::Impl::forget_nodes(std::vector<NodeState>& states) {
  std::set<std::string> ended;
  for (const MachineRecord& r : ledger.data().machines)
    if (!r.node.empty() && !r.alive()) ended.insert(r.node);
  for (const MachineRecord& r : ledger.data().machines)
    if (r.alive()) ended.erase(r.node);
  auto is_ended = [&](const NodeState& state) { return state.role != "head" && ended.count(state.id) != 0; };
  for (const NodeState& state : states)
    if (is_ended(state)) head->request("nodes.remove", {{"name", state.id}});
  states.erase(std::remove_if(states.begin(), states.end(), is_ended), states.end());
}

void Keeper::Impl::take_nodes(const std::vector<NodeState>& states) {
  std::unordered_map<std::string, std::vector<MachineRecord*>> by_address;
  for (MachineRecord& r : ledger.data().machines) {
    if (r.phase != Phase::booted) continue;
    if (!r.private_address.empty()) by_address[r.private_address].push_back(&r);
    if (!r.public_address.empty() && r.public_address != r.private_address)
      by_address[r.public_address].push_back(&r);
  }
  std::unordered_map<std::string, MachineRecord*> by_id;
  for (MachineRecord& r : ledger.data().machines)
    if (r.phase == Phase::booted && !r.id.empty()) by_id[r.id] = &r;
  std::map<uint32_t, NodeState> found;
  bool changed = false, new_keys = false;
  for (const NodeState& state : states) {
    bool is_head = state.role == "head";
    MachineRecord* machine = nullptr;
    if (auto same = by_id.find(state.instance); same != by_id.end() && same->second->is_head() == is_head)
      machine = same->second;
    auto candidates = by_address.find(state.underlay);
    if (!machine && candidates != by_address.end())
      for (MachineRecord* r : candidates->second) {
        if (r->is_head() != is_head) continue;
        // An address in two networks: the machine that is known to be this node wins.
        if (!machine || r->node == state.id || (machine->node.empty() == false && machine->node != state.id))
          machine = r;
      }
    if (!machine && is_head) machine = head_record();
    if (!machine) continue;
    // A machine that came back under the address of another: the one that is here now counts.
    auto [place, fresh] = found.try_emplace(machine->number, state);
    if (!fresh && state.present) place->second = state;
    if (place->second.id == state.id && state.present &&
        (machine->node != state.id || machine->node_name != state.name)) {
      machine->node = state.id;
      machine->node_name = state.name;
      changed = true;
    }
  }
  for (const auto& [number, state] : found) {
    auto before = nodes.find(number);
    new_keys = new_keys || before == nodes.end() || before->second.ssh_host_keys != state.ssh_host_keys;
  }
  nodes = std::move(found);
  healthy.clear();
  for (const auto& [number, state] : nodes)
    if (state.present && state.stage == "healthy") healthy.insert(number);
  if (changed) ledger.commit();
  if (new_keys) write_known_hosts();
}

// ssh checks against what the nodes themselves reported over mutual TLS.
void Keeper::Impl::write_known_hosts() const {
  std::string text;
  for (const auto& [number, state] : nodes) {
    const MachineRecord* r = const_cast<Ledger&>(ledger).find(number);
    if (!r) continue;
    for (const std::string& key : state.ssh_host_keys)
      for (const std::string& address : {r->public_address, r->private_address})
        if (!address.empty()) text += address + " " + key + "\n";
  }
  if (!text.empty()) replace_file(home.known_hosts(), text, 0600);
}

// What the deployment says of its containers, by "NODE/NAME" as the head has placed them.
void Keeper::Impl::ask_placed() {
  placed.clear();
  std::map<std::string, const stitch::Label*> labels;
  for (const stitch::Label& label : current->deployment.labels) labels[label.name] = &label;
  Json answer = head->request("deployment.get", nlohmann::json::object());
  for (const Json& item : answer.at("containers").items()) {
    ContainerView c;
    std::string name = item.string_or("name", "");
    if (auto env = item.find("env")) c.env = env->string_map();
    for (const std::string& member : item.strings_or_empty("members")) {
      size_t dot = member.find('.');
      if (dot == std::string::npos) continue;
      std::string label = member.substr(dot + 1);
      c.labels.push_back(label);
      auto found = labels.find(label);
      size_t place = std::strtoul(member.c_str(), nullptr, 10);
      if (found != labels.end() && place > 0 && place <= found->second->members.size())
        c.stitch_id = std::to_string(found->second->members[place - 1]);
    }
    // One without a label is called by its number.
    if (c.stitch_id.empty() && name.size() > 1 && name[0] == 'c') c.stitch_id = name.substr(1);
    placed[item.string_or("node", "") + "/" + name] = std::move(c);
  }
}

void Keeper::Impl::take_containers(const Json& ps) {
  std::map<std::string, const MachineRecord*> by_node;
  for (const MachineRecord& r : ledger.data().machines)
    if (r.phase == Phase::booted && !r.node_name.empty()) by_node[r.node_name] = &r;
  std::vector<ContainerView> list;
  bool fresh = false, asked = false, old = false;
  for (const Json& item : ps.at("containers").items()) {
    ContainerView c;
    c.id = item.at("id").string();
    if (c.id.empty()) continue;
    c.image = item.string_or("image", "");
    c.command = item.string_or("command", "");
    c.node = item.string_or("node", "");
    c.address = item.string_or("address", "");
    c.mac = item.string_or("mac", "");
    c.status = item.string_or("state", "");
    old = old || (c.image == image_before && item.string_or("name", "") == "ray");
    if (!current->deployment.containers.empty()) {
      std::string key = c.node + "/" + item.string_or("name", "");
      if (placed.count(key) == 0 && !std::exchange(asked, true)) ask_placed();
      if (auto known = placed.find(key); known != placed.end()) {
        c.stitch_id = known->second.stitch_id;
        c.labels = known->second.labels;
        c.env = known->second.env;
      }
    }
    if (auto place = by_node.find(c.node); place != by_node.end()) {
      c.machine = place->second->number;
      c.minion = place->second->private_address;
    }
    fresh = fresh || ledger.data().containers.count(c.id) == 0;
    c.number = ledger.container_number(c.id);
    list.push_back(std::move(c));
  }
  std::sort(list.begin(), list.end(),
            [](const ContainerView& a, const ContainerView& b) { return a.number < b.number; });
  containers = std::move(list);
  if (!old) image_before.clear();
  if (fresh) ledger.commit();
}

// What the head must know of the deployment; again after each change and each start of ours.
void Keeper::Impl::tell_head() {
  if (wishes_due) return;  // how many workers there should be isn't known yet
  const Settings& s = current->settings;
  std::set<std::string> images = {s.image};
  for (const stitch::Container& container : current->deployment.containers) images.insert(container.image);
  std::string ca = s.registry_ca.empty() ? "" : read_file(s.registry_ca, 1 << 20);
  std::set<std::string> known;
  for (const std::string& image : images) {
    if (image.empty() || image.starts_with("head:")) continue;
    oci::Reference reference = oci::parse_reference(image);
    if (!known.insert(reference.registry).second) continue;
    oci::Credentials login = oci::find_credentials(reference.registry, reference.repository, s.registry_auth);
    if (login.empty() && ca.empty()) continue;
    head->request("registry.set", {{"host", reference.registry},
                                   {"username", login.username},
                                   {"password", login.password},
                                   {"identity_token", login.identity_token},
                                   {"ca", ca}});
  }
  Json answer = head->request("cluster.set", {{"workers", wanted_workers()}, {"image", s.image}});
  image_before = answer.string_or("image_before", "");
  if (!current->deployment.containers.empty())
    head->request("deployment.set", {{"deployment", stitch::to_json(current->deployment)}},
                  std::chrono::seconds(60));
  placed.clear();
  image_delivery.reset();
  if (!s.local_images.empty()) image_delivery = std::make_unique<ImageDelivery>(head->context(), s);
  told = true;
}

}  // namespace rayctl::fleet
