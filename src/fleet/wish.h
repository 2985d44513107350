// What a deployment asks for in machines, with everything decided that can be decided before the cloud is
// asked.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cloud/provider.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

// One machine that the deployment wants.
struct Wish {
  std::string role, provider, region, zone;
  std::vector<std::string> sizes;  // in order of preference; the spec's own alone when it names one
  // Any of these sizes fulfils the wish, when the spec gives ranges; empty: only those in `sizes`.
  std::vector<std::string> fitting;
  unsigned disk_gb = 0;
  bool spot = false;
  std::optional<double> max_price;
  std::string image, group;
  std::map<std::string, std::string> labels;
  std::vector<std::string> ssh_keys;
  std::optional<double> price_hour;  // of sizes.front(), as it will be bought; empty = not known
  stitch::Position at;

  bool is_head() const { return role == stitch::master_role; }
};

// What wishes need to know of the clouds; all without the network.
struct Catalog {
  std::function<cloud::Place(const std::string& provider, const std::string& text)> place;
  std::function<const std::vector<cloud::Size>&(const std::string& provider, const std::string& region)>
      sizes;
  std::function<std::string(const std::string& provider)> default_size;
};

// The sizes for one machine of the spec: its own; or, when it gives ranges or GPUs, those that fit them and
// cost at most `max_price` (0 = no limit), cheapest first, unknown prices last, x86-64 only (an image seldom
// has both); or the provider's default. An Error says what comes nearest when nothing fits.
struct SizeChoice {
  std::vector<std::string> sizes, fitting;
  std::optional<double> price_hour;
};
SizeChoice choose_size(const stitch::Machine& machine, double max_price,
                       const std::vector<cloud::Size>& table, const std::string& default_size);

// The price of a size as it will be bought; empty when the table doesn't know it.
std::optional<double> price_of(const std::vector<cloud::Size>& table, const std::string& size, bool spot);

struct Wishes {
  std::vector<Wish> machines;          // the head first
  std::vector<std::string> remarks;    // what the user should know
  std::optional<std::string> blocked;  // why nothing may boot: no Master, or no Worker
};
// An Error with the place in the spec for what can't be: two Masters, an unknown region, no fitting size.
Wishes wishes_of(const stitch::Deployment& deployment, const Catalog& catalog);

}  // namespace rayctl::fleet
