#include "cloud/local.h"

#include <fmt/ranges.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cloud/local_files.h"
#include "cloud/local_plan.h"

using namespace rayctl;
using namespace rayctl::cloud;

namespace {

void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/cloud/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(read_file(path) == text);
}

LocalMachine machine() {
  return {.name = "rayctl-demo-head",
          .directory = "/var/lib/rayctl/local/clusters/demo/head",
          .number = 3,
          .cpus = 2,
          .ram_mib = 4096,
          .image = {"/m/root.img", "raw", "/m/vmlinuz", "/m/initrd.img"},
          .network = "239.201.1.2:20001",
          .binary = "/it's, here/rayctl",
          .public_ports = {{80, 81}, {7443, 7443}}};
}

uint32_t little(const std::string& bytes, size_t at) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])); };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

}  // namespace

TEST_CASE("QEMU's command line is as reviewed") {
  check_golden("qemu.x86_64", fmt::format("{}\n", fmt::join(qemu_argv(machine()), "\n")));
  LocalMachine arm = machine();
  arm.arch = "aarch64";
  arm.kvm = true;
  arm.image = {"/m/disk.qcow2", "qcow2", "", ""};
  check_golden("qemu.aarch64", fmt::format("{}\n", fmt::join(qemu_argv(arm), "\n")));
}

TEST_CASE("a seed disk is an ISO 9660 image with cloud-init's files") {
  auto files = local_seed(machine(), "demo.head", "demo-head", {"ssh-ed25519 AAAA me"}, "#cloud-config\n");
  REQUIRE(files.size() == 3);
  CHECK(Json::parse(files[0].text, "meta").at("instance-id").string() == "demo.head");
  CHECK(files[1].text.find("52:54:c9:00:03:02") != std::string::npos);
  std::string image = seed_image(files);
  CHECK(image.size() % 2048 == 0);
  CHECK(image.substr(16 * 2048, 6) == std::string("\1CD001", 6));
  CHECK(image.substr(16 * 2048 + 40, 7) == "cidata ");
  CHECK(little(image, 16 * 2048 + 80) * 2048 == image.size());
  // The directory's third record is the first file's.
  size_t directory = little(image, 16 * 2048 + 156 + 2) * size_t{2048};
  size_t record = directory + 2 * 34;
  CHECK(image.substr(record + 33, 11) == "meta-data;1");
  CHECK(image.substr(little(image, record + 2) * size_t{2048}, little(image, record + 10)) == files[0].text);
  CHECK(seed_image(files) == image);
}

TEST_CASE("a machine's record comes back as it was written") {
  LocalRecord record{.plan = machine()};
  record.machine.id = "demo.head";
  record.machine.key = "head";
  record.machine.cluster = "demo";
  record.machine.state = MachineState::running;
  record.machine.disk_gb = 16;
  std::string text = to_text(record);
  LocalRecord back = parse_local_record(text, "machine.json");
  CHECK(to_text(back) == text);
  CHECK(back.machine.public_address == "127.201.3.1");
  CHECK(back.machine.private_address == "10.201.3.15");
  CHECK_THROWS_AS(parse_local_record("{}", "machine.json"), Error);
}

TEST_CASE("Local's sizes, regions and names") {
  auto local = open_local({.state_dir = "/nowhere"});
  CHECK(local->size("local", "2x4").cpus == 2);
  CHECK(local->size("local", "4,2").ram_gib == 4);  // as Quilt's Vagrant wrote it
  CHECK(local->size("local", "1x0.5").ram_gib == 0.5);
  for (const char* bad : {"", "m6i.large", "0x4", "2x", "2x4x8", "2.5x4", "999x1"})
    CHECK_THROWS_WITH(local->size("local", bad),
                      fmt::format("unknown size '{}' of Local (sizes are written CPUSxGIB, like 2x4)", bad));
  CHECK(local->place("").region == "local");
  CHECK_THROWS_AS(local->place("us-east-1"), ProviderError);
  CHECK(local->list("none").empty());
  CHECK_THROWS_AS(check_local_name("namespace", "../x"), ProviderError);
  CHECK_NOTHROW(check_local_name("namespace", "a_B-1.c"));
}
