// The parts of a Keeper, for its own files only.
#pragma once

#include <map>
#include <set>

#include "fleet/clouds.h"
#include "fleet/delivery.h"
#include "fleet/documents.h"
#include "fleet/head.h"
#include "fleet/keeper.h"
#include "fleet/ledger.h"
#include "fleet/local_images.h"
#include "fleet/machines.h"
#include "fleet/plan.h"
#include "fleet/secrets.h"

namespace rayctl::fleet {

using Clock = std::chrono::steady_clock;

struct Keeper::Impl {
  Impl(const Home& home, std::string name, Ownership ownership, KeeperEvents events,
       const KeeperTimes& times);

  // --- the thread (keeper.cc) ---
  void run();
  Clock::duration pause() const;  // until the next thing is due
  void take_order();              // what order() left, or what is on the disk
  void adopt_order(Order order);
  void say(const std::string& text, const std::string& fields = {});

  // --- machines (keeper_round.cc) ---
  void round();
  void keep_round();
  void end_round();
  void prepare();
  void check_foreign(const Reconciled& seen, const Plan& plan);
  void act(const Plan& plan);
  void enlist(const Plan& plan, std::vector<uint32_t>& heads, std::vector<uint32_t>& workers);
  void terminate(const Plan& plan, size_t failed);
  std::string document_of(const MachineRecord& record);
  std::string worker_token(size_t count);
  DocumentInput document_input();
  size_t wanted_workers() const;
  const cloud::BinarySource& source_for(const std::string& provider);
  void failed(const BootResult& result);
  void back_off();

  // --- the head (keeper_head.cc) ---
  void ask_head();
  void claim();
  void tell_head();
  void forget_nodes(std::vector<NodeState>& states);
  void take_nodes(const std::vector<NodeState>& nodes);
  void ask_placed();
  void take_containers(const Json& ps);
  void write_known_hosts() const;
  MachineRecord* head_record();

  // --- what others see (keeper_look.cc) ---
  void publish();
  ClusterLook make_look();
  MachineView view_of(const MachineRecord& record);
  void ask_consoles();

  const Home home;
  const std::string name;
  Ownership ownership;
  const KeeperEvents events;
  const KeeperTimes times;

  // shared, under the mutex
  mutable std::mutex mutex;
  std::condition_variable wake;
  std::optional<Order> next_order;
  uint64_t ordered,
      adopted = 0;  // numbers of orders; they begin with the time, so that no two keepers share one
  ClusterLook shown;
  bool stopping = false, ended = false;
  std::atomic<bool> cancel{false};
  std::thread thread;

  // the thread's own
  std::optional<Order> current;
  Ledger ledger;
  Secrets secrets;
  std::unique_ptr<Clouds> clouds;
  std::unique_ptr<Machines> machines;
  Wishes wishes;
  bool wishes_due = true, firewall_due = true, verified = false;
  std::optional<cluster::Root> root;
  std::unique_ptr<Head> head;
  uint32_t head_number = 0;  // that `head` leads to
  bool told = false;         // the deployment, since it changed
  std::unique_ptr<Delivery> delivery;
  std::unique_ptr<ImageDelivery> image_delivery;
  std::map<std::string, cloud::BinarySource> binaries;  // by provider
  std::string fresh_token;                              // of workers, for the documents of this round

  Clock::time_point next_look{}, next_head{}, next_boot{}, next_console{};
  Clock::duration retry{};
  std::string error;     // of the last round
  bool blocked = false;  // nothing helps but a change by the user
  bool was_healthy = false;
  bool observing = false;               // nothing is claimed, told or delivered
  Plan plan;                            // of the last round
  std::map<uint32_t, NodeState> nodes;  // by machine
  std::vector<ContainerView> containers;
  std::map<std::string, ContainerView> placed;  // what the deployment says of them, by NODE/NAME
  std::string head_trouble;                     // why it doesn't answer
  std::string image_before;  // that a changed one replaces; empty: no container of it is left
  struct Mark {
    Stage stage;
    WallTime since;
  };
  std::map<uint32_t, Mark> marks;
  std::map<uint32_t, std::string> consoles;
  std::set<uint32_t> healthy;
  std::vector<std::string> foreign;
};

}  // namespace rayctl::fleet
