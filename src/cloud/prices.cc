#include "cloud/prices.h"

#include <algorithm>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cloud/api.h"

namespace rayctl::cloud {

namespace {

std::string squeezed(std::string_view name) {  // "Central US" -> "centralus"
  std::string text = lower_case(trim(name));
  std::erase(text, ' ');
  return text;
}

double positive(const Json& json) {
  double value = json.number();
  if (!(value >= 0) || value > 1e6) throw Error("{}: {} is out of range", json.path(), value);
  return value;
}

Size parse_size_row(const Json& json) {
  json.only({"name", "cpus", "ram", "arch", "gpu", "gpus", "price", "spot", "prices"});
  Size size{.name = json.at("name").string(),
            .cpus = positive(json.at("cpus")),
            .ram_gib = positive(json.at("ram")),
            .arch = json.string_or("arch", "x86_64"),
            .gpu = json.string_or("gpu", ""),
            .gpus = static_cast<unsigned>(json.size_or("gpus", 0))};
  if (size.arch != "x86_64" && size.arch != "aarch64")
    throw Error("{}.arch: expected x86_64 or aarch64, found {}", json.path(), printable(size.arch));
  if (size.gpus == 0 && !size.gpu.empty()) size.gpus = 1;
  if (auto price = json.find("price")) size.price_hour = positive(*price);
  if (auto spot = json.find("spot")) size.spot_hour = positive(*spot);
  return size;
}

bool within(const Range& range, double value) {
  return value >= range.min && (range.max == 0 || value <= range.max);
}

bool fits(const Size& size, const SizeWant& want) {
  if (!within(want.cpus, size.cpus) || !within(want.ram_gib, size.ram_gib)) return false;
  if (want.gpus == 0 && want.gpu.empty()) {
    if (size.gpus > 0) return false;
  } else {
    if (size.gpus < std::max(1U, want.gpus)) return false;
    if (!want.gpu.empty() && lower_case(size.gpu) != lower_case(want.gpu)) return false;
  }
  return want.arch.empty() || size.arch == want.arch;
}

const std::optional<double>& price_of(const Size& size, const SizeWant& want) {
  return want.spot ? size.spot_hour : size.price_hour;
}

std::string show_range(const Range& range, const char* unit) {
  if (range.min == 0 && range.max == 0) return "";
  if (range.max == 0) return fmt::format("at least {:g} {}", range.min, unit);
  if (range.min == 0) return fmt::format("at most {:g} {}", range.max, unit);
  if (range.min == range.max) return fmt::format("{:g} {}", range.min, unit);
  return fmt::format("{:g} to {:g} {}", range.min, range.max, unit);
}

std::string show_want(const SizeWant& want) {
  std::vector<std::string> parts;
  for (std::string part : {show_range(want.cpus, "CPUs"), show_range(want.ram_gib, "GiB of memory")})
    if (!part.empty()) parts.push_back(std::move(part));
  if (want.gpus > 0 || !want.gpu.empty())
    parts.push_back(fmt::format("{} GPU{}{}{}", std::max(1U, want.gpus), want.gpus > 1 ? "s" : "",
                                want.gpu.empty() ? "" : " ", want.gpu));
  if (!want.arch.empty()) parts.push_back("architecture " + want.arch);
  return parts.empty() ? "any size" : fmt::format("{}", fmt::join(parts, ", "));
}

// How far a size is from what was asked for, in doublings: to name the nearest one in an error.
double distance(const Size& size, const SizeWant& want) {
  auto off = [](const Range& range, double value) {
    value = std::max(value, 0.01);
    if (value < range.min) return range.min / value;
    if (range.max > 0 && value > range.max) return value / std::max(range.max, 0.01);
    return 1.0;
  };
  bool gpu_wanted = want.gpus > 0 || !want.gpu.empty();
  double far = off(want.cpus, size.cpus) * off(want.ram_gib, size.ram_gib);
  if (gpu_wanted != (size.gpus > 0)) far *= 1000;
  if (!want.gpu.empty() && lower_case(size.gpu) != lower_case(want.gpu)) far *= 100;
  if (size.gpus < want.gpus) far *= static_cast<double>(want.gpus) / std::max(1U, size.gpus);
  if (!want.arch.empty() && size.arch != want.arch) far *= 50;
  return far;
}

}  // namespace

PriceTable PriceTable::parse(std::string_view text, const std::string& name) {
  Json root = Json::parse(text, name);
  root.only({"date", "note", "providers"});
  PriceTable table;
  table.date_ = root.string_or("date", "");
  table.note_ = root.string_or("note", "");
  for (const auto& [provider, json] : root.at("providers").members()) {
    json.only({"default_region", "regions", "sizes", "spot_factor"});
    Cloud& cloud = table.clouds_[lower_case(provider)];
    if (auto regions = json.find("regions")) {
      for (const auto& [region, factor] : regions->members())
        cloud.regions.emplace_back(region, factor.is_null() ? std::nullopt : std::optional(positive(factor)));
      std::string first = json.string_or("default_region", "");
      std::stable_partition(cloud.regions.begin(), cloud.regions.end(),
                            [&](const auto& r) { return r.first == first; });
    }
    if (auto factor = json.find("spot_factor")) cloud.spot_factor = positive(*factor);
    for (const Json& item : json.at("sizes").items()) {
      Row row{.size = parse_size_row(item)};
      if (auto prices = item.find("prices"))
        for (const auto& [region, price] : prices->members()) row.prices[region] = positive(price);
      cloud.rows.push_back(std::move(row));
    }
  }
  return table;
}

PriceTable PriceTable::load(const std::string& file) {
  if (file.empty()) return builtin();
  return parse(read_file(file, 16 << 20), file);
}

const PriceTable& PriceTable::builtin() {
  static const PriceTable table = parse(builtin_prices, "the built-in price table");
  return table;
}

const PriceTable::Cloud* PriceTable::find(const std::string& provider) const {
  auto it = clouds_.find(lower_case(provider));
  return it == clouds_.end() ? nullptr : &it->second;
}

std::vector<std::string> PriceTable::regions(const std::string& provider) const {
  const PriceTable* table = this;
  // A file that only has prices needn't list the regions again.
  if (const Cloud* cloud = find(provider); !cloud || cloud->regions.empty()) table = &builtin();
  std::vector<std::string> names;
  if (const Cloud* cloud = table->find(provider))
    for (const auto& [region, factor] : cloud->regions) names.push_back(region);
  return names;
}

Size PriceTable::priced(const Cloud& cloud, const Row& row, const std::string& region) {
  Size size = row.size;
  std::optional<double> factor;
  if (cloud.regions.empty()) factor = 1.0;
  for (const auto& [name, value] : cloud.regions)
    if (name == region) factor = value;
  auto times = [&](std::optional<double>& price) {
    if (price && factor)
      price = *price * *factor;
    else
      price.reset();
  };
  times(size.price_hour);
  times(size.spot_hour);
  if (auto it = row.prices.find(region); it != row.prices.end()) size.price_hour = it->second;
  if (!size.spot_hour && size.price_hour && cloud.spot_factor)
    size.spot_hour = *size.price_hour * *cloud.spot_factor;
  return size;
}

std::vector<Size> PriceTable::sizes(const std::string& provider, const std::string& region) const {
  std::vector<Size> found;
  if (const Cloud* cloud = find(provider))
    for (const Row& row : cloud->rows) found.push_back(priced(*cloud, row, region));
  return found;
}

std::optional<Size> PriceTable::size(const std::string& provider, const std::string& region,
                                     const std::string& name) const {
  if (const Cloud* cloud = find(provider))
    for (const Row& row : cloud->rows)
      if (row.size.name == name) return priced(*cloud, row, region);
  return std::nullopt;
}

std::string PriceTable::nearest_size(const std::string& provider, const std::string& name) const {
  std::vector<std::string> names;
  if (const Cloud* cloud = find(provider))
    for (const Row& row : cloud->rows) names.push_back(row.size.name);
  return nearest(name, names);
}

Place place_in(const std::vector<std::string>& regions, const std::string& text, const std::string& provider,
               std::string_view zone_separator) {
  std::string wanted = squeezed(text);
  if (wanted.empty() && !regions.empty()) return {.region = regions[0]};
  for (const std::string& region : regions) {
    if (wanted == region) return {.region = region};
    // A zone is its region, the separator and one letter.
    if (wanted.size() == region.size() + zone_separator.size() + 1 && wanted.starts_with(region) &&
        std::string_view(wanted).substr(region.size(), zone_separator.size()) == zone_separator &&
        wanted.back() >= 'a' && wanted.back() <= 'z')
      return {.region = region, .zone = wanted};
  }
  std::string near = nearest(wanted, regions);
  throw ProviderError(FailureKind::invalid,
                      near.empty() ? fmt::format("there are: {}", fmt::join(regions, ", "))
                                   : fmt::format("did you mean '{}'?", near),
                      "unknown region '{}' of {}", printable(text), provider);
}

std::vector<Size> fitting_sizes(const std::vector<Size>& sizes, const SizeWant& want) {
  std::vector<Size> found;
  for (const Size& size : sizes) {
    if (!fits(size, want)) continue;
    const auto& price = price_of(size, want);
    if (want.max_price && (!price || *price > *want.max_price)) continue;
    found.push_back(size);
  }
  // One image and one binary serve a cluster: the other architecture is for those who ask for it.
  if (want.arch.empty() &&
      std::any_of(found.begin(), found.end(), [](const Size& s) { return s.arch == "x86_64"; }))
    std::erase_if(found, [](const Size& s) { return s.arch != "x86_64"; });
  std::sort(found.begin(), found.end(), [&](const Size& a, const Size& b) {
    constexpr double unknown = std::numeric_limits<double>::max();
    double x = price_of(a, want).value_or(unknown), y = price_of(b, want).value_or(unknown);
    return std::tie(x, a.cpus, a.ram_gib, a.name) < std::tie(y, b.cpus, b.ram_gib, b.name);
  });
  return found;
}

std::vector<Size> choose_sizes(const std::vector<Size>& sizes, const SizeWant& want,
                               const std::string& where) {
  std::vector<Size> found = fitting_sizes(sizes, want);
  if (!found.empty()) return found;
  if (want.max_price) {
    SizeWant any_price = want;
    any_price.max_price.reset();
    std::vector<Size> dear = fitting_sizes(sizes, any_price);
    if (!dear.empty()) {
      const auto& price = price_of(dear[0], want);
      throw ProviderError(FailureKind::price, price ? "raise MaxPrice" : "give its price with --prices FILE",
                          "no size of {} with {} costs at most {} an hour: '{}' costs {}", where,
                          show_want(want), show_price(want.max_price), dear[0].name, show_price(price));
    }
  }
  std::string nearest_name;
  double least = std::numeric_limits<double>::max();
  for (const Size& size : sizes)
    if (double d = distance(size, want); d < least) {
      least = d;
      nearest_name = fmt::format("'{}' has {:g} CPUs and {:g} GiB", size.name, size.cpus, size.ram_gib) +
                     (size.gpus ? fmt::format(" and {} {}", size.gpus, size.gpu) : "");
    }
  throw ProviderError(FailureKind::invalid,
                      nearest_name.empty() ? "name a size" : "the nearest one, " + nearest_name,
                      "no size of {} has {}", where, show_want(want));
}

std::string show_price(const std::optional<double>& dollars) {
  if (!dollars) return "?";
  std::string text = fmt::format("{:.4f}", *dollars);
  while (text.ends_with('0') && text.find('.') + 3 < text.size()) text.pop_back();  // two decimals stay
  return "$" + text;
}

}  // namespace rayctl::cloud
