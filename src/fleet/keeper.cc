#include "fleet/keeper.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "fleet/keeper_impl.h"

namespace rayctl::fleet {

namespace {

constexpr size_t max_deployment = 256 << 20;

}  // namespace

std::optional<Order> read_order(const Home& home) {
  auto settings = read_file_if_exists(home.settings());
  if (!settings) return std::nullopt;
  Json json = Json::parse(*settings, home.settings());
  Order order;
  if (json.string_or("order", "keep") == "end") order.kind = Order::Kind::end;
  order.settings = parse_settings(json.at("settings"));
  order.deployment =
      stitch::deployment_from_json(read_file(home.deployment(), max_deployment), home.deployment());
  return order;
}

void write_order(const Home& home, const Order& order) {
  make_directories(home.directory, 0700);
  // The settings last: they say that there is an order.
  replace_file(home.deployment(), stitch::to_json(order.deployment).dump(1) + "\n", 0600);
  nlohmann::json json = {{"order", order.kind == Order::Kind::end ? "end" : "keep"},
                         {"settings", to_json(order.settings)}};
  replace_file(home.settings(), json.dump(1) + "\n", 0600);
}

Keeper::Impl::Impl(const Home& home, std::string name, Ownership ownership, KeeperEvents events,
                   const KeeperTimes& times)
    : home(home),
      name(std::move(name)),
      ownership(std::move(ownership)),
      events(std::move(events)),
      times(times),
      ordered(static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch() /
                                    std::chrono::milliseconds(1))),
      ledger(home, this->name),
      secrets(read_secrets(home)) {
  shown.name = this->name;
  if (auto order = read_order(home)) adopt_order(std::move(*order));
}

void Keeper::Impl::say(const std::string& text, const std::string& fields) {
  if (events.say) events.say(text, fields);
}

// From here on this is what the rounds work towards.
void Keeper::Impl::adopt_order(Order order) {
  bool other_clouds = !current || !(current->settings == order.settings) || !clouds;
  current = std::move(order);
  if (other_clouds) {
    machines.reset();
    clouds = std::make_unique<Clouds>(current->settings, &cancel);
    machines = std::make_unique<Machines>(home, ledger, *clouds);
    binaries.clear();
  }
  wishes_due = firewall_due = true;
  told = verified = blocked = false;
  error.clear();
  retry = {};
  next_look = next_head = next_boot = {};
}

void Keeper::Impl::take_order() {
  std::optional<Order> order;
  {
    std::lock_guard lock(mutex);
    order.swap(next_order);
    adopted = ordered;
  }
  if (order) adopt_order(std::move(*order));
}

void Keeper::Impl::run() {
  while (true) {
    {
      std::lock_guard lock(mutex);
      if (stopping || ended) return;
    }
    try {
      take_order();
      if (current) round();
    } catch (const Interrupted&) {
      // stop() or a new order that made us give up what we waited for
    } catch (const std::exception& e) {
      // The disk is full, or a file is damaged: nothing that a round expects.
      error = e.what();
      blocked = true;
      back_off();
    }
    try {
      publish();
    } catch (const std::exception& e) {
      debug("publishing the state of {}: {}", name, e.what());
    }
    std::unique_lock lock(mutex);
    wake.wait_for(lock, pause(), [&] { return stopping || ended || next_order.has_value(); });
  }
}

Clock::duration Keeper::Impl::pause() const {
  if (!current) return std::chrono::hours(1);
  Clock::time_point now = Clock::now(), due = std::min(next_look, next_head);
  Clock::duration shortest = std::chrono::milliseconds(50);
  return std::max(shortest, due - now);
}

void Keeper::Impl::back_off() {
  retry =
      retry == Clock::duration{} ? times.retry : std::min<Clock::duration>(retry * 2, times.retry_longest);
  next_boot = Clock::now() + (blocked ? Clock::duration(times.retry_longest) : retry);
  if (next_look < Clock::now() + times.look_busy) next_look = Clock::now() + times.look_busy;
}

Keeper::Keeper(const Home& home, const std::string& name, Ownership ownership, KeeperEvents events,
               const KeeperTimes& times)
    : impl_(std::make_unique<Impl>(home, name, std::move(ownership), std::move(events), times)) {}

Keeper::~Keeper() {
  stop();
}

uint64_t Keeper::order(Order order) {
  std::lock_guard lock(impl_->mutex);
  write_order(impl_->home, order);
  impl_->next_order = std::move(order);
  impl_->wake.notify_all();
  return ++impl_->ordered;
}

void Keeper::start() {
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

void Keeper::stop() {
  if (!impl_) return;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->cancel = true;
    impl_->wake.notify_all();
  }
  if (impl_->thread.joinable()) impl_->thread.join();
}

bool Keeper::ended() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->ended;
}

ClusterLook Keeper::look() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->shown;
}

ClusterLook Keeper::observe(const Home& home, const std::string& name, Ownership ownership) {
  Impl impl(home, name, std::move(ownership), {}, {});
  if (!impl.current) throw Error("cannot look at cluster '{}': '{}' is missing", name, home.settings());
  impl.observing = true;
  if (impl.current->kind == Order::Kind::keep)
    impl.wishes = wishes_of(impl.current->deployment, impl.clouds->catalog());
  impl.machines->look(impl.machines->regions());
  impl.plan = make_plan(impl.wishes, impl.ledger.data().machines);
  impl.ask_head();
  impl.publish();
  return impl.shown;
}

}  // namespace rayctl::fleet
