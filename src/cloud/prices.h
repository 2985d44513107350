// What machines cost: dated tables, and the choice of a size by them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cloud/provider.h"

namespace rayctl::cloud {

// The sizes and regions of the clouds, with approximate list prices. `--prices FILE` gives another table:
//   {"date": "2025-06", "note": "…", "providers": {"Amazon": {
//     "default_region": "us-west-1",
//     "regions": {"us-east-1": 1, "eu-west-1": 1.115},     factor on each size's price; null = unknown there
//     "spot_factor": 0.4,                                  spot price of sizes that have no "spot"; may be
//     missing "sizes": [{"name": "m6i.large", "cpus": 2, "ram": 8, "price": 0.096, "spot": 0.04,
//                "arch": "aarch64", "gpu": "T4", "gpus": 1, "prices": {"eu-west-1": 0.107}}]}}}
// `ram` in GiB; `price` in US dollars an hour, in a region of factor 1; `prices` where one isn't price x
// factor. Only "name", "cpus" and "ram" must be there.
class PriceTable {
 public:
  static const PriceTable& builtin();
  static PriceTable parse(std::string_view json,
                          const std::string& name);  // throws Error with the path in the document
  static PriceTable load(const std::string& file);   // "" = the built-in one

  const std::string& date() const { return date_; }  // "2025-06"
  const std::string& note() const { return note_; }

  std::vector<std::string> regions(const std::string& provider) const;  // the default one first
  std::vector<Size> sizes(const std::string& provider, const std::string& region) const;
  std::optional<Size> size(const std::string& provider, const std::string& region,
                           const std::string& name) const;
  // The name that was probably meant; "" when none is near.
  std::string nearest_size(const std::string& provider, const std::string& name) const;

 private:
  struct Row {
    Size size;
    std::map<std::string, double> prices;  // by region
  };
  struct Cloud {
    std::vector<std::pair<std::string, std::optional<double>>> regions;
    std::optional<double> spot_factor;
    std::vector<Row> rows;
  };
  const Cloud* find(const std::string& provider) const;
  static Size priced(const Cloud& cloud, const Row& row, const std::string& region);

  std::string date_, note_;
  std::map<std::string, Cloud> clouds_;
};

extern const char* const builtin_prices;  // the table's text (prices_builtin.cc)

// Region and zone from what a user wrote; invalid with the nearest name. Names are compared in lower case and
// without blanks. `zone_separator`: "" ("us-east-1b"), "-" ("us-east1-b").
Place place_in(const std::vector<std::string>& regions, const std::string& text, const std::string& provider,
               std::string_view zone_separator);

struct Range {
  double min = 0, max = 0;  // 0 = no limit
};

// What a machine must have when no size was named.
struct SizeWant {
  Range cpus = {}, ram_gib = {};
  std::string arch = {};                 // empty = x86_64 unless nothing else fits
  std::string gpu = {};                  // type; empty = any, with `gpus` > 0
  unsigned gpus = 0;                     // at least; 0 = none: sizes with GPUs are left out
  std::optional<double> max_price = {};  // dollars an hour
  bool spot = false;                     // compare spot prices
};

// Those that fit, cheapest first (then fewer CPUs, then by name); unknown prices last, and not under a
// maximum.
std::vector<Size> fitting_sizes(const std::vector<Size>& sizes, const SizeWant& want);
// The same; ProviderError when none fits: invalid with what comes nearest, or price with the cheapest that
// would.
std::vector<Size> choose_sizes(const std::vector<Size>& sizes, const SizeWant& want,
                               const std::string& where);

std::string show_price(const std::optional<double>& dollars);  // "$0.096", "?"

}  // namespace rayctl::cloud
