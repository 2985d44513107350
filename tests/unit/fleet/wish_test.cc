#include "fleet/wish.h"

#include "base/error.h"
#include "fleet/cost.h"
#include "unit/fleet/samples.h"

namespace rayctl::fleet {

using namespace samples;

namespace {

std::string failure(const stitch::Machine& machine, double max_price) {
  try {
    choose_size(machine, max_price, sizes(), "small");
  } catch (const Error& e) {
    return e.message();
  }
  return "";
}

}  // namespace

TEST_CASE("sizes: named, default, by ranges, by price", "[fleet]") {
  stitch::Machine m;
  CHECK(choose_size(m, 0, sizes(), "small").sizes == std::vector<std::string>{"small"});
  m.size = "unheard-of";
  SizeChoice named = choose_size(m, 0, sizes(), "small");
  CHECK(named.sizes == std::vector<std::string>{"unheard-of"});
  CHECK_FALSE(named.price_hour);
  m.cpu = {1, 1};  // the size wins
  CHECK(choose_size(m, 0, sizes(), "small").sizes == std::vector<std::string>{"unheard-of"});

  m = {};
  m.cpu = {4, 0};
  SizeChoice by_cpu = choose_size(m, 0, sizes(), "small");
  CHECK(by_cpu.sizes ==
        std::vector<std::string>{"medium", "large", "odd"});  // unknown price last, no Arm, no GPU
  CHECK(by_cpu.price_hour == 0.192);
  m.ram = {32, 32};
  CHECK(choose_size(m, 0, sizes(), "small").sizes == std::vector<std::string>{"large", "odd"});
  CHECK(choose_size(m, 0.4, sizes(), "small").sizes == std::vector<std::string>{"large"});
  CHECK(failure(m, 0.1) ==
        "no size with at least 4 CPUs, 32 GiB of memory costs at most $0.1 an hour: the cheapest, large, "
        "costs $0.384 "
        "(raise MaxPrice, or ask for less)");
  m.spot = true;
  CHECK(choose_size(m, 0.2, sizes(), "small").price_hour == 0.15);
  m = {};
  m.cpu = {64, 0};
  CHECK(failure(m, 0) == "no size has at least 64 CPUs");
  m = {};
  m.gpu = {"v100", 1};
  CHECK(choose_size(m, 0, sizes(), "small").sizes == std::vector<std::string>{"gpu"});
  m.gpu = {"A100", 8};
  CHECK(failure(m, 0) == "no size has 8 A100 GPUs");
}

TEST_CASE("wishes carry the place in the spec to errors", "[fleet]") {
  stitch::Deployment d = deployment(1);
  d.machines[1].cpu = {64, 0};
  CHECK_THROWS_WITH(wishes_of(d, catalog()), "ray-runner.spec:22:3: no size has at least 64 CPUs");
  d = deployment(1);
  d.machines.push_back({});
  d.machines.back().id = 3;
  Wishes w = wishes_of(d, catalog());
  CHECK(w.machines.size() == 2);
  CHECK(w.remarks ==
        std::vector<std::string>{"machine 3 isn't booted: it has no role (add (role \"Worker\"))"});
}

TEST_CASE("cost", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  WallTime now = WallTime(std::chrono::seconds(1000000 + 7200));
  Cost c = cost_of(records, now);
  CHECK(c.machines == 3);
  CHECK(c.per_hour == Approx(0.15));
  CHECK(c.so_far == Approx(0.30));
  records[2].phase = Phase::gone;
  records[2].ended = WallTime(std::chrono::seconds(1000000 + 3600));
  records[1].price_hour.reset();
  c = cost_of(records, now);
  CHECK(c.per_hour == Approx(0.05));
  CHECK(c.so_far == Approx(0.15));
  CHECK(describe(c) == "2 machines, $0.05/h, $0.15 so far (1 of unknown price not counted)");
  records[0].phase = Phase::wanted;
  records[0].id.clear();
  CHECK(cost_of(records, now).machines == 1);  // nobody pays for a wish
  CHECK(dollars(0) == "$0");
  CHECK(dollars(0.117) == "$0.117");
  CHECK(dollars(1.5) == "$1.50");
  CHECK(dollars(12.3456) == "$12.35");
  CHECK(price_per_hour({}) == "?/h");
}

}  // namespace rayctl::fleet
