// Keeps one cluster as its deployment says: boots, replaces and ends machines, claims the head, tells it what
// it must know. `rayctl up` runs one until the cluster is healthy, `rayctl daemon` one for each cluster for
// good.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fleet/home.h"
#include "fleet/settings.h"
#include "fleet/view.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

// What a cluster must be.
struct Order {
  enum class Kind { keep, end };
  Kind kind = Kind::keep;
  stitch::Deployment deployment = {};
  Settings settings = {};
};
// As they are on the disk; empty when the cluster has none (or not any more).
std::optional<Order> read_order(const Home& home);
void write_order(const Home& home, const Order& order);

struct KeeperEvents {
  // What 2016's daemon said at each change: "Attempt to boot machines.", "count=2". From the keeper's thread.
  std::function<void(const std::string& text, const std::string& fields)> say = {};
  // The look changed. From the keeper's thread.
  std::function<void(const ClusterLook& look)> changed = {};
};

struct KeeperTimes {
  std::chrono::milliseconds look_busy{3000};   // between looks at the clouds while machines come or go
  std::chrono::milliseconds look_idle{30000};  // when all is well
  std::chrono::milliseconds ask_head{1000};    // for its nodes
  std::chrono::milliseconds retry{15000};      // after a refusal that may pass; doubles up to retry_longest
  std::chrono::milliseconds retry_longest{300000};
  std::chrono::milliseconds console{20000};  // between looks at the console of a machine that isn't there yet
  std::chrono::seconds sweep{300};           // for what clouds let go of late
};

class Keeper {
 public:
  Keeper(const Home& home, const std::string& name, Ownership ownership, KeeperEvents events,
         const KeeperTimes& times = {});
  ~Keeper();  // stops

  // What it should be from now on; written to the disk when this returns. From any thread. Looks with this
  // number (or a higher one) are an answer to it.
  uint64_t order(Order order);
  void start();  // its thread; picks up where the last owner left off
  // Cancels what waits and ends the thread; machines stay as they are.
  void stop();
  bool ended() const;  // the cluster is gone, by Order::Kind::end, and its directory with it
  ClusterLook look() const;

  // One look at the clouds and the head, without changing anything there, by who owns the cluster just now.
  static ClusterLook observe(const Home& home, const std::string& name, Ownership ownership);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rayctl::fleet
