#include "cloud/prices.h"

#include <catch2/catch.hpp>
#include <set>

#include "base/file.h"

using namespace rayctl;
using namespace rayctl::cloud;

TEST_CASE("the built-in table is whole") {
  const PriceTable& table = PriceTable::builtin();
  CHECK_FALSE(table.date().empty());
  CHECK_THAT(table.note(), Catch::Contains("approximate"));
  for (const char* provider : {"Amazon", "Google", "Azure"}) {
    INFO(provider);
    auto regions = table.regions(provider);
    REQUIRE(regions.size() > 30);
    std::set<std::string> names;
    for (const Size& size : table.sizes(provider, regions[0])) {
      INFO(size.name);
      CHECK(names.insert(size.name).second);
      CHECK((size.cpus > 0 && size.ram_gib > 0 && size.price_hour > 0.0 && size.spot_hour < size.price_hour));
      CHECK((size.gpus > 0) == !size.gpu.empty());
    }
    CHECK(names.size() > 40);
  }
  CHECK(table.regions("Amazon")[0] == "us-west-1");
  CHECK(show_price(table.size("Amazon", "us-east-1", "m5.large")->price_hour) == "$0.096");
  CHECK(show_price(table.size("Amazon", "cn-north-1", "m5.large")->price_hour) == "?");
  CHECK(table.size("Amazon", "us-east-1", "m7g.large")->arch == "aarch64");
  CHECK_FALSE(table.size("Amazon", "us-east-1", "m5.lrge"));
  CHECK(table.nearest_size("amazon", "m5.lrge") == "m5.large");
}

TEST_CASE("choices are those of the golden file") {
  auto choose = [](const std::string& provider, const std::string& region, const SizeWant& want) {
    try {
      auto found =
          choose_sizes(PriceTable::builtin().sizes(provider, region), want, provider + " in " + region);
      std::string text;
      for (size_t i = 0; i < std::min<size_t>(3, found.size()); ++i)
        text += fmt::format("{} {} ", found[i].name,
                            show_price(want.spot ? found[i].spot_hour : found[i].price_hour));
      return text + "\n";
    } catch (const ProviderError& e) {
      return fmt::format("{}: {}\n", name_of(e.kind()), e.message());
    }
  };
  std::string text;
  for (auto [provider, region] :
       {std::pair{"Amazon", "us-west-1"}, {"Google", "us-east1"}, {"Azure", "centralus"}}) {
    text += fmt::format("# {} {}\n", provider, region);
    for (const SizeWant& want :
         {SizeWant{}, SizeWant{.cpus = {4, 0}}, SizeWant{.cpus = {2, 2}, .ram_gib = {8, 16}},
          SizeWant{.cpus = {8, 0}, .ram_gib = {32, 0}, .max_price = 0.5},
          SizeWant{.cpus = {8, 0}, .ram_gib = {32, 0}, .max_price = 0.5, .spot = true},
          SizeWant{.cpus = {8, 0}, .max_price = 0.01}, SizeWant{.cpus = {1000, 0}}, SizeWant{.cpus = {3, 3}},
          SizeWant{.gpus = 1}, SizeWant{.gpu = "T4", .gpus = 4}, SizeWant{.gpu = "B9000"},
          SizeWant{.cpus = {4, 0}, .arch = "aarch64"}})
      text += choose(provider, region, want);
  }
  std::string path = "tests/golden/cloud/choices.txt";
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(text == read_file(path));
}

TEST_CASE("a price file replaces the table, and says what is wrong with it") {
  PriceTable table = PriceTable::parse(
      R"({"date":"2030-01","providers":{"Amazon":{"regions":{"us-east-1":1,"eu-west-1":2,"x-1":null},"spot_factor":0.5,
      "sizes":[{"name":"a","cpus":1,"ram":2,"price":0.1,"prices":{"eu-west-1":0.3}},{"name":"b","cpus":2,"ram":2,"arch":"aarch64"},
      {"name":"c","cpus":2,"ram":2,"price":1,"spot":0.2,"gpu":"T4"}]}}})",
      "p.json");
  CHECK(show_price(table.size("Amazon", "us-east-1", "a")->price_hour) == "$0.10");
  CHECK(show_price(table.size("Amazon", "eu-west-1", "a")->price_hour) == "$0.30");
  CHECK(show_price(table.size("Amazon", "eu-west-1", "a")->spot_hour) == "$0.15");
  CHECK(show_price(table.size("Amazon", "eu-west-1", "c")->spot_hour) == "$0.40");
  CHECK(show_price(table.size("Amazon", "x-1", "a")->price_hour) == "?");
  CHECK(show_price(table.size("Amazon", "us-east-1", "b")->price_hour) == "?");
  CHECK(table.size("Amazon", "us-east-1", "c")->gpus == 1);
  CHECK(table.sizes("Google", "us-east1").empty());
  CHECK(table.regions("Google").size() > 30);  // the file has none
  // unknown prices come last, and never under a maximum
  auto fitting = fitting_sizes(table.sizes("Amazon", "us-east-1"), {.cpus = {1, 2}, .arch = ""});
  CHECK(fitting[0].name == "a");
  CHECK(fitting_sizes(table.sizes("Amazon", "us-east-1"), {.arch = "aarch64", .max_price = 9.0}).empty());

  auto error = [](const char* text) {
    try {
      PriceTable::parse(text, "p.json");
      return std::string("accepted");
    } catch (const Error& e) {
      return e.message();
    }
  };
  CHECK(error(R"({"providers":{"Amazon":{"sizes":[{"name":"a","cpus":1}]}}})") ==
        "p.json.providers.Amazon.sizes[0].ram: missing");
  CHECK(error(R"({"providers":{"Amazon":{"sizes":[{"name":"a","cpus":-1,"ram":1}]}}})") ==
        "p.json.providers.Amazon.sizes[0].cpus: -1 is out of range");
  CHECK(error(R"({"providers":{"Amazon":{"sizes":[{"name":"a","cpus":1,"ram":1,"cost":1}]}}})") ==
        "p.json.providers.Amazon.sizes[0]: unknown key 'cost'");
  CHECK(error(R"({"providers":{"Amazon":{"sizes":[{"name":"a","cpus":1,"ram":1,"arch":"mips"}]}}})") ==
        "p.json.providers.Amazon.sizes[0].arch: expected x86_64 or aarch64, found mips");
}

TEST_CASE("regions are found as users write them") {
  auto place = [](const std::string& provider, const std::string& text, const char* separator) {
    Place found = place_in(PriceTable::builtin().regions(provider), text, provider, separator);
    return found.region + " " + found.zone;
  };
  CHECK(place("Amazon", "", "") == "us-west-1 ");
  CHECK(place("Amazon", "us-east-1", "") == "us-east-1 ");
  CHECK(place("Amazon", "us-east-1b", "") == "us-east-1 us-east-1b");
  CHECK(place("Google", "us-east1-b", "-") == "us-east1 us-east1-b");
  CHECK(place("Azure", "Central US", "-") == "centralus ");
  CHECK_THROWS_WITH(place("Amazon", "us-wst-2", ""),
                    "unknown region 'us-wst-2' of Amazon (did you mean 'us-west-2'?)");
  CHECK_THROWS_WITH(place("Amazon", "moon", ""),
                    Catch::StartsWith("unknown region 'moon' of Amazon (there are: us-west-1, "));
}

TEST_CASE("providers are found in any case of letters") {
  CHECK(canonical_provider("amazon") == "Amazon");
  CHECK(canonical_provider("AWS") == "Amazon");
  CHECK_THROWS_WITH(canonical_provider("Amazin"), "unknown provider 'Amazin' (did you mean 'Amazon'?)");
  CHECK_THROWS_AS(canonical_provider("DigitalOcean"), UsageError);
}
