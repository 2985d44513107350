#include "fleet/clouds.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"

namespace rayctl::fleet {

void in_parallel(size_t count, size_t threads, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first;
  auto run = [&] {
    for (size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      }
    }
  };
  threads = std::min(threads, count);
  if (threads <= 1) {
    run();
  } else {
    std::vector<std::thread> pool;
    pool.reserve(threads);
    for (size_t i = 0; i < threads; ++i) pool.emplace_back(run);
    for (std::thread& thread : pool) thread.join();
  }
  if (first) std::rethrow_exception(first);
}

Clouds::Clouds(const Settings& settings, const std::atomic<bool>* cancel)
    : maker_([settings, cancel](const std::string& name) {
        return cloud::provider_named(name, {.endpoint = settings.endpoint,
                                            .prices_file = settings.prices_file,
                                            .project = settings.project,
                                            .network = settings.network,
                                            .cancel = cancel});
      }) {}

cloud::Provider& Clouds::provider(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto& place = providers_[name];
  if (!place) place = maker_(name);
  return *place;
}

const std::vector<cloud::Size>& Clouds::sizes(const std::string& name, const std::string& region) {
  cloud::Provider& cloud = provider(name);
  std::lock_guard lock(mutex_);
  auto [place, fresh] = tables_.try_emplace({name, region});
  if (fresh) place->second = cloud.sizes(region);
  return place->second;
}

Catalog Clouds::catalog() {
  return {
      .place = [this](const std::string& name,
                      const std::string& text) { return provider(name).place(text); },
      .sizes = [this](const std::string& name, const std::string& region) -> const std::vector<cloud::Size>& {
        return sizes(name, region);
      },
      .default_size = [this](const std::string& name) { return provider(name).default_size(); }};
}

Sighting Clouds::look(const std::string& cluster, const Regions& regions) {
  std::map<std::string, std::vector<std::string>> by_provider;
  for (const auto& [name, region] : regions) by_provider[name].push_back(region);
  std::vector<std::pair<std::string, std::vector<std::string>>> tasks(by_provider.begin(), by_provider.end());
  Sighting sighting;
  std::mutex mutex;
  in_parallel(tasks.size(), tasks.size(), [&](size_t i) {
    std::vector<cloud::Machine> found = provider(tasks[i].first).list(cluster, tasks[i].second);
    std::lock_guard lock(mutex);
    for (cloud::Machine& machine : found) sighting.machines.push_back(std::move(machine));
    if (!provider(tasks[i].first).list_lags()) sighting.prompt.insert(tasks[i].first);
  });
  sighting.seen_regions = regions;
  sighting.when = cluster::wall_now();
  return sighting;
}

std::optional<double> Clouds::price(const std::string& name, const std::string& region,
                                    const std::string& size, bool spot) {
  return price_of(sizes(name, region), size, spot);
}

void Clouds::verify_sizes(std::vector<Wish>& wishes) {
  for (Wish& wish : wishes) {
    if (!wish.fitting.empty() || wish.sizes.empty()) continue;  // from the table
    const std::vector<cloud::Size>& table = sizes(wish.provider, wish.region);
    const std::string& name = wish.sizes.front();
    bool known =
        std::any_of(table.begin(), table.end(), [&](const cloud::Size& s) { return s.name == name; });
    if (!known) try {
        cloud::Size found = provider(wish.provider).size(wish.region, name);
        std::lock_guard lock(mutex_);
        tables_.at({wish.provider, wish.region}).push_back(std::move(found));
      } catch (Error& e) {
        if (std::string at = to_string(wish.at); !at.empty()) e.prefix("{}", at);
        throw;
      }
    if (!wish.price_hour) wish.price_hour = price(wish.provider, wish.region, name, wish.spot);
  }
}

}  // namespace rayctl::fleet
