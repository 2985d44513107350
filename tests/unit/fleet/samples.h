// Deployments, sizes and machines that fleet's tests share.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/file.h"
#include "fleet/plan.h"
#include "fleet/wish.h"

namespace rayctl::fleet::samples {

inline cloud::Size size(std::string name, double cpus, double ram, std::optional<double> price,
                        std::optional<double> spot = {}) {
  cloud::Size s;
  s.name = std::move(name);
  s.cpus = cpus;
  s.ram_gib = ram;
  s.price_hour = price;
  s.spot_hour = spot;
  return s;
}

inline const std::vector<cloud::Size>& sizes() {
  static const std::vector<cloud::Size> table = [] {
    std::vector<cloud::Size> t = {size("small", 2, 4, 0.05, 0.02), size("medium", 4, 16, 0.192, 0.07),
                                  size("large", 8, 32, 0.384, 0.15), size("odd", 8, 32, {})};
    cloud::Size arm = size("arm", 4, 16, 0.1);
    arm.arch = "aarch64";
    cloud::Size gpu = size("gpu", 8, 61, 0.9);
    gpu.gpu = "V100", gpu.gpus = 1;
    t.push_back(arm);
    t.push_back(gpu);
    return t;
  }();
  return table;
}

inline Catalog catalog() {
  return {.place = [](const std::string&, const std::string& text) -> cloud::Place {
            return {.region = text.empty() ? "us-west-1" : text, .zone = ""};
          },
          .sizes = [](const std::string&, const std::string&) -> const std::vector<cloud::Size>& {
            return sizes();
          },
          .default_size = [](const std::string&) -> std::string { return "small"; }};
}

inline stitch::Deployment deployment(uint32_t workers, const std::string& size = "") {
  stitch::Deployment d;
  d.name_space = "ray-1";
  for (uint32_t id = 1; id <= workers + 1; ++id) {
    stitch::Machine machine;
    machine.id = id;
    machine.provider = "Amazon";
    machine.role = id == 1 ? stitch::master_role : stitch::worker_role;
    machine.size = size;
    machine.at = {"ray-runner.spec", 20 + id, 3};
    d.machines.push_back(machine);
  }
  return d;
}

inline constexpr const char* uid = "abcd1234";

// The wishes carried out: records as they are once everything runs, numbers from 2 on.
inline std::vector<MachineRecord> booted(const Wishes& wishes) {
  std::vector<MachineRecord> records;
  uint32_t number = 2;
  for (const Wish& wish : wishes.machines) {
    MachineRecord r;
    r.number = number++;
    r.key = key_of(uid, r.number);
    r.phase = Phase::booted;
    r.role = wish.role;
    r.provider = wish.provider;
    r.region = wish.region;
    r.sizes = wish.sizes;
    r.size = wish.sizes.front();
    r.disk_gb = wish.disk_gb;
    r.spot = wish.spot;
    r.price_hour = wish.price_hour;
    r.head = wish.is_head() ? 0 : 2;
    r.id = fmt::format("i-{:04}", r.number);
    r.public_address = fmt::format("54.0.{}.{}", r.number / 250, r.number % 250);
    r.private_address = fmt::format("172.31.{}.{}", r.number / 250, r.number % 250);
    r.listed = true;
    r.asked = r.launched = WallTime(std::chrono::seconds(1000000));
    records.push_back(r);
  }
  return records;
}

inline cloud::Machine seen(const MachineRecord& r) {
  cloud::Machine m;
  m.id = r.id;
  m.key = r.key;
  m.cluster = "ray-1";
  m.role = r.is_head() ? "head" : "worker";
  m.provider = r.provider;
  m.region = r.region;
  m.size = r.size;
  m.state = cloud::MachineState::running;
  m.public_address = r.public_address;
  m.private_address = r.private_address;
  return m;
}

inline Sighting sighting(const std::vector<MachineRecord>& records, int64_t when = 2000000) {
  Sighting s;
  for (const MachineRecord& r : records)
    if (r.phase != Phase::gone) s.machines.push_back(seen(r));
  s.seen_regions = {{"Amazon", "us-west-1"}};
  s.when = WallTime(std::chrono::seconds(when));
  return s;
}

// Compares with tests/golden/fleet/NAME; RAYCTL_ACCEPT=1 rewrites it.
inline void golden(const std::string& text, const std::string& name) {
  std::string path = "tests/golden/fleet/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) {
    make_directories("tests/golden/fleet");
    replace_file(path, text);
  }
  CHECK(read_file_if_exists(path).value_or("") == text);
}

}  // namespace rayctl::fleet::samples
