// The providers that a deployment uses, each opened once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cloud/provider.h"
#include "fleet/plan.h"
#include "fleet/settings.h"
#include "fleet/wish.h"

namespace rayctl::fleet {

using Regions = std::set<std::pair<std::string, std::string>>;  // (provider, region)

// Thread-safe; providers are made at first use.
class Clouds {
 public:
  Clouds(const Settings& settings, const std::atomic<bool>* cancel);
  // With providers from elsewhere (tests).
  using Maker = std::function<std::unique_ptr<cloud::Provider>(const std::string& name)>;
  explicit Clouds(Maker maker) : maker_(std::move(maker)) {}

  cloud::Provider& provider(const std::string& name);
  Catalog catalog();  // refers to this object

  // One look at all of these regions, in parallel. Throws when any of them can't be seen.
  Sighting look(const std::string& cluster, const Regions& regions);
  // The price of the size that a machine got; empty = not known.
  std::optional<double> price(const std::string& provider, const std::string& region, const std::string& size,
                              bool spot);
  // Sizes that the table doesn't know are looked up in the cloud: an error with the nearest name for one that
  // isn't there, and an entry of the table from then on. Fills in prices where the cloud tells.
  void verify_sizes(std::vector<Wish>& wishes);

 private:
  const std::vector<cloud::Size>& sizes(const std::string& provider, const std::string& region);

  Maker maker_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<cloud::Provider>> providers_;
  std::map<std::pair<std::string, std::string>, std::vector<cloud::Size>> tables_;
};

// Calls `work(i)` for 0 <= i < count on up to `threads` threads; the first error is thrown once all are done.
void in_parallel(size_t count, size_t threads, const std::function<void(size_t)>& work);

}  // namespace rayctl::fleet
