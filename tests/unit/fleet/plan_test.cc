#include "fleet/plan.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "fleet/plan_text.h"
#include "unit/fleet/samples.h"

namespace rayctl::fleet {

using namespace samples;

namespace {

Plan plan(const stitch::Deployment& d, const std::vector<MachineRecord>& records,
          const std::set<uint32_t>& healthy = {}) {
  return make_plan(wishes_of(d, catalog()), records, healthy);
}

using Numbers = std::vector<uint32_t>;

}  // namespace

TEST_CASE("nothing there: everything is booted, the head first", "[fleet]") {
  stitch::Deployment d = deployment(2);
  std::swap(d.machines[0], d.machines[2]);  // the spec's order doesn't matter
  Plan p = plan(d, {});
  REQUIRE(p.boot.size() == 3);
  CHECK(p.boot[0].is_head());
  CHECK_FALSE(p.head_changes);
  CHECK(p.boot[1].sizes == std::vector<std::string>{"small"});
  CHECK(p.boot[1].price_hour == 0.05);
}

TEST_CASE("as it should be: nothing to do", "[fleet]") {
  auto records = booted(wishes_of(deployment(3), catalog()));
  Plan p = plan(deployment(3), records);
  CHECK(p.empty());
  CHECK(p.keep == Numbers{2, 3, 4, 5});
}

TEST_CASE("scaling touches workers only, the newest and the sick first", "[fleet]") {
  auto records = booted(wishes_of(deployment(3), catalog()));
  SECTION("up") {
    Plan p = plan(deployment(5), records);
    CHECK(p.boot.size() == 2);
    CHECK(p.keep == Numbers{2, 3, 4, 5});
    CHECK(p.terminate.empty());
  }
  SECTION("down") {
    Plan p = plan(deployment(1), records);
    CHECK(p.boot.empty());
    CHECK(p.terminate == Numbers{4, 5});
    CHECK(p.keep == Numbers{2, 3});
  }
  SECTION("down, one of them is healthy") {
    Plan p = plan(deployment(1), records, {2, 5});
    CHECK(p.keep == Numbers{2, 5});
    CHECK(p.terminate == Numbers{3, 4});
  }
  CHECK_FALSE(plan(deployment(1), records).head_changes);
}

TEST_CASE("each attribute that a machine has must match", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  auto changed = [&](const std::function<void(stitch::Machine&)>& change) {
    stitch::Deployment d = deployment(1);
    change(d.machines[1]);
    Plan p = plan(d, records);
    CHECK(p.boot.size() == 1);
    CHECK(p.terminate == Numbers{3});
    CHECK(p.keep == Numbers{2});
    CHECK_FALSE(p.head_changes);
  };
  changed([](stitch::Machine& m) { m.provider = "Google"; });
  changed([](stitch::Machine& m) { m.region = "eu-west-1"; });
  changed([](stitch::Machine& m) { m.size = "large"; });
  changed([](stitch::Machine& m) { m.disk_gb = 64; });
  changed([](stitch::Machine& m) { m.spot = true; });
  changed([](stitch::Machine& m) { m.image = "ami-1"; });
  changed([](stitch::Machine& m) { m.group = "big"; });
  changed([](stitch::Machine& m) { m.labels["a"] = "b"; });
  stitch::Deployment keys = deployment(1);
  keys.machines[1].ssh_keys = {"ssh-ed25519 AAAA me"};
  CHECK(plan(keys, records).empty());  // no reason to lose a machine
}

TEST_CASE("ranges take any size that fits, and don't take it from those that need it", "[fleet]") {
  stitch::Deployment d = deployment(2);
  d.machines[1].cpu = {4, 8};
  d.machines[2].size = "large";
  Wishes w = wishes_of(d, catalog());
  CHECK(w.machines[1].sizes == std::vector<std::string>{"medium", "large", "odd"});
  auto records = booted(w);
  // The machine for the ranges is a large one, as it came when there was no medium one left.
  records[1].size = "large";
  CHECK(make_plan(w, records).empty());
  // Only one large machine is left: the wish that takes nothing else gets it.
  records.pop_back();
  Plan p = make_plan(w, records);
  REQUIRE(p.boot.size() == 1);
  CHECK(p.boot[0].sizes.front() == "medium");
  CHECK(p.terminate.empty());
}

TEST_CASE("a changed head takes its workers along", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  stitch::Deployment d = deployment(2);
  d.machines[0].size = "large";
  Plan p = plan(d, records);
  CHECK(p.head_changes);
  CHECK(p.boot.size() == 3);
  CHECK(p.terminate == Numbers{2, 3, 4});
}

TEST_CASE("a lost head takes its workers along", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  records[0].phase = Phase::gone;
  Plan p = plan(deployment(2), records);
  CHECK(p.head_changes);
  CHECK(p.boot.size() == 3);
  CHECK(p.terminate == Numbers{3, 4});
}

TEST_CASE("without a Master or a Worker nothing is booted, and nothing ended", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  stitch::Deployment d = deployment(2);
  SECTION("no worker") {
    d.machines.resize(1);
  }
  SECTION("no master") {
    d.machines.erase(d.machines.begin());
  }
  Plan p = plan(d, records);
  CHECK(p.empty());
  REQUIRE(p.remarks.size() == 1);
  CHECK(p.remarks[0].find("nothing is booted") != std::string::npos);
}

TEST_CASE("two Masters are an error with both places", "[fleet]") {
  stitch::Deployment d = deployment(2);
  d.machines[1].role = stitch::master_role;
  try {
    wishes_of(d, catalog());
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.message() ==
          "ray-runner.spec:22:3: cannot have a second Master: a cluster has one head, and "
          "ray-runner.spec:21:3 is it "
          "(make it a Worker)");
  }
}

TEST_CASE("an interrupted boot is asked for again under its key", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  records[2].phase = Phase::wanted;
  records[2].id.clear();
  records[2].size.clear();
  records[2].listed = false;
  Sighting s = sighting(records);
  s.machines.pop_back();
  SECTION("the cloud never heard of it") {
    CHECK(reconcile(records, s, uid).lost.empty());
    Plan p = plan(deployment(2), records);
    CHECK(p.resume == Numbers{4});
    CHECK(p.boot.empty());
  }
  SECTION("it has it already") {
    cloud::Machine machine = seen(records[2]);
    machine.id = "i-9";
    machine.size = "small";
    s.machines.push_back(machine);
    CHECK(reconcile(records, s, uid).changed == std::set<uint32_t>{4});
    CHECK(records[2].phase == Phase::booted);
    CHECK(records[2].id == "i-9");
    CHECK(plan(deployment(2), records).empty());
  }
  SECTION("it isn't wanted any more") {
    Plan p = plan(deployment(1), records);
    CHECK(p.terminate == Numbers{4});
  }
}

TEST_CASE("what the cloud refused is dropped without a word", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  for (MachineRecord& r : records) r.phase = Phase::wanted, r.refused = true, r.id.clear();
  CHECK(plan(deployment(1), records).resume == Numbers{2, 3});
  Plan p = plan(deployment(1, "large"), records);
  CHECK(p.boot.size() == 2);
  CHECK(p.drop == Numbers{2, 3});
  CHECK(p.terminate.empty());
  CHECK_FALSE(p.head_changes);
}

TEST_CASE("lost machines are replaced, late lists are given time", "[fleet]") {
  auto records = booted(wishes_of(deployment(2), catalog()));
  Sighting s = sighting(records);
  SECTION("terminated by the cloud") {
    s.machines[2].state = cloud::MachineState::terminated;
    s.machines[2].reason = "Server.SpotInstanceTermination";
    CHECK(reconcile(records, s, uid).lost == Numbers{4});
    CHECK(records[2].fate == "lost: Server.SpotInstanceTermination");
    Plan p = plan(deployment(2), records);
    CHECK(p.boot.size() == 1);
    CHECK(p.keep == Numbers{2, 3});
  }
  SECTION("stopped by someone") {
    s.machines[2].state = cloud::MachineState::stopped;
    CHECK(reconcile(records, s, uid).lost == Numbers{4});
    CHECK(records[2].phase == Phase::ending);  // its disk costs money
  }
  SECTION("missing for long") {
    s.machines.pop_back();
    CHECK(reconcile(records, s, uid).lost == Numbers{4});
  }
  SECTION("missing right after its boot") {
    records[2].listed = false;
    records[2].asked = s.when - std::chrono::seconds(100);
    s.machines.pop_back();
    CHECK(reconcile(records, s, uid).lost.empty());
    CHECK(plan(deployment(2), records).empty());
    s.prompt = {records[2].provider};  // its lists don't lag
    CHECK(reconcile(records, s, uid).lost == Numbers{4});
  }
  SECTION("in a region that wasn't looked at") {
    s.machines.clear();
    s.seen_regions = {{"Google", "us-east1"}};
    CHECK(reconcile(records, s, uid).lost.empty());
  }
}

TEST_CASE("machines without a record: ours come back, others' are left alone", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  Sighting s = sighting(records);
  cloud::Machine ours = seen(records[1]), other = ours;
  ours.key = key_of(uid, 17);
  ours.id = "i-17";
  other.key = key_of("zzzz9999", 3);
  other.id = "i-else";
  s.machines.push_back(ours);
  s.machines.push_back(other);
  Reconciled r = reconcile(records, s, uid);
  CHECK(r.adopted == Numbers{17});
  REQUIRE(r.foreign.size() == 1);
  CHECK(r.foreign[0].id == "i-else");
  REQUIRE(records.size() == 3);
  CHECK(records[2].number == 17);
  Plan p = plan(deployment(1), records);
  for (uint32_t number : p.terminate) CHECK(number == 17);
}

TEST_CASE("a machine that was taken for gone and isn't is ended", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  Sighting s = sighting(records);
  records[1].phase = Phase::gone;
  reconcile(records, s, uid);
  CHECK(records[1].phase == Phase::ending);
}

TEST_CASE("of two machines under one key, the one that isn't ours to know is ended", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  Sighting s = sighting(records);
  cloud::Machine second = seen(records[1]);
  second.id = "i-second";
  bool first = GENERATE(true, false);
  s.machines.insert(first ? s.machines.begin() : s.machines.end(), second);
  SECTION("both run") {
    Reconciled r = reconcile(records, s, uid);
    REQUIRE(r.doubles.size() == 1);
    CHECK(r.doubles[0].id == "i-second");
    CHECK(r.changed.empty());
  }
  SECTION("one of them ends already") {
    (first ? s.machines.front() : s.machines.back()).state = cloud::MachineState::stopping;
    CHECK(reconcile(records, s, uid).doubles.empty());
  }
  CHECK(records[1].id != "i-second");
  CHECK(records[1].phase == Phase::booted);
}

TEST_CASE("keys", "[fleet]") {
  CHECK(key_of("abcd1234", 7) == "rkabcd1234-7");
  CHECK(key_has_uid("rkabcd1234-7", "abcd1234"));
  CHECK_FALSE(key_has_uid("rkabcd1234", "abcd1234"));
  CHECK_FALSE(key_has_uid("rkabcd12345-7", "abcd1234"));
  CHECK_FALSE(key_has_uid("", "abcd1234"));
  CHECK(number_of_key("rkabcd1234-7") == 7);
  CHECK_FALSE(number_of_key("rkabcd1234-"));
  CHECK_FALSE(number_of_key("rkabcd1234-7x"));
  CHECK_FALSE(number_of_key("i-7"));
}

TEST_CASE("plans as text and as JSON", "[fleet]") {
  PlanPaper paper;
  paper.name = "ray-1";
  paper.settings = {{"image", "registry:5000/ray:1"}, {"firewall", "open to 203.0.113.7/32"}};
  stitch::Deployment d = deployment(4);
  d.machines[3].spot = d.machines[4].spot = true;
  SECTION("first") {
    paper.plan = plan(d, {});
    golden(plan_text(paper), "plan-first.txt");
    golden(plan_json(paper).dump(2) + "\n", "plan-first.json");
  }
  SECTION("change") {
    paper.records = booted(wishes_of(deployment(6), catalog()));
    d.machines[1].size = "odd";
    paper.plan = plan(d, paper.records);
    golden(plan_text(paper), "plan-change.txt");
  }
  SECTION("a new head") {
    paper.records = booted(wishes_of(deployment(2), catalog()));
    d = deployment(2);
    d.machines[0].size = "large";
    paper.plan = plan(d, paper.records);
    golden(plan_text(paper), "plan-head.txt");
  }
  SECTION("blocked") {
    d.machines.resize(1);
    paper.plan = plan(d, {});
    golden(plan_text(paper), "plan-blocked.txt");
  }
}

TEST_CASE("a thousand machines are planned at once", "[fleet]") {
  stitch::Deployment d = deployment(1000);
  for (size_t i = 1; i < d.machines.size(); ++i) {
    d.machines[i].cpu = {static_cast<double>(1 + i % 4), 8};
    d.machines[i].group = fmt::format("group-{}", i % 50);
  }
  auto start = std::chrono::steady_clock::now();
  Wishes w = wishes_of(d, catalog());
  auto records = booted(w);
  for (size_t i = 0; i < records.size(); ++i) records[i].group = w.machines[i].group;
  records.resize(700);
  Sighting s = sighting(records);
  reconcile(records, s, uid);
  Plan p = make_plan(w, records);
  CHECK(p.boot.size() == 301);
  CHECK(p.keep.size() == 700);
  CHECK(p.terminate.empty());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

}  // namespace rayctl::fleet
