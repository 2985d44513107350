#include "cloud/azure.h"

#include <catch2/catch.hpp>

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"

using namespace rayctl;
using namespace rayctl::cloud;

TEST_CASE("what Azure is asked for is as planned") {
  MachineWant want{.key = "m-1",
                   .cluster = "ray",
                   .role = "head",
                   .region = "eastus",
                   .zone = "2",
                   .disk_gb = 10,
                   .spot = true,
                   .user_data = "u",
                   .labels = {{"team", "a"}}};
  AzureIds ids = azure_ids("sub", "ray", "eastus", "m-1");
  Size size{.name = "Standard_D2ps_v5", .arch = "aarch64"};
  Firewall firewall{.admin_cidrs = {"203.0.113.7", "::1"},
                    .public_ports = {{80, 80}, {90, 95}},
                    .peer_addresses = {"198.51.100.1"}};
  std::string text =
      azure_group_body("ray", "eastus") + "\n" + azure_firewall_body("ray", "eastus", firewall) + "\n" +
      azure_network_body("ray", "eastus") + "\n" + azure_address_body(want) + "\n" +
      azure_interface_body(want, ids) + "\n" + azure_machine_body(want, size, ids, "ssh-rsa spare") + "\n";
  std::string path = "tests/golden/cloud/azure.json";
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(text == read_file(path));
}

TEST_CASE("machine images of Azure are URNs or ids") {
  auto image = [](const std::string& wanted) {
    MachineWant want{.key = "m", .cluster = "c", .region = "r", .image = wanted};
    auto json = Json::parse(azure_machine_body(want, {.name = "s"}, {}, "k"), "body");
    return json.at("properties").at("storageProfile").at("imageReference").string_map();
  };
  CHECK(image("").at("offer") == "ubuntu-24_04-lts");
  CHECK(image("Debian:debian-12:12-gen2:latest").at("sku") == "12-gen2");
  CHECK(image("/subscriptions/x/y").at("id") == "/subscriptions/x/y");
  CHECK_THROWS_AS(image("a:b:c"), ProviderError);
  CHECK_THROWS_AS(image("a:b::d"), ProviderError);
}

TEST_CASE("machines of Azure are read") {
  Machine m = azure_machine(Json::parse(
      R"({"name":"ray-ray-m-1","location":"eastus","zones":["1"],"tags":{"rayctl:cluster":"ray","rayctl:key":"m-1","rayctl:role":"head"},
      "properties":{"provisioningState":"Succeeded","hardwareProfile":{"vmSize":"Standard_D2s_v5"},"priority":"Spot","storageProfile":{"osDisk":
      {"diskSizeGB":32}},"timeCreated":"2025-01-02T03:04:05.1234567+00:00"}})",
      "m"));
  CHECK((m.cluster == "ray" && m.key == "m-1" && m.role == "head" && m.spot && m.zone == "1" &&
         m.disk_gb == 32));
  CHECK(m.state == MachineState::running);
  CHECK(std::chrono::system_clock::to_time_t(m.launched) == 1735787045);
  CHECK(
      azure_machine(
          Json::parse(
              R"({"name":"a","properties":{"provisioningState":"Succeeded","instanceView":{"statuses":[{"code":"x"},
      {"code":"PowerState/deallocated"}]}}})",
              "m"))
          .state == MachineState::stopped);
  CHECK_THROWS_AS(azure_machine(Json::parse("{}", "m")), Error);
}

TEST_CASE("errors of Azure have a kind and a next step") {
  auto error = [](int status, const std::string& body) {
    HttpResponse response;
    response.status = status;
    response.body = body;
    return azure_error("cannot boot", response);
  };
  CHECK(error(409, R"({"error":{"code":"SkuNotAvailable","message":"m"}})").kind() == FailureKind::capacity);
  CHECK(error(409, R"({"error":{"code":"OperationNotAllowed","message":"exceeding approved Cores quota"}})")
            .kind() == FailureKind::quota);
  CHECK(error(409, R"({"error":{"code":"OperationNotAllowed","message":"other"}})").kind() ==
        FailureKind::invalid);
  CHECK(error(401, R"({"error":{"code":"ExpiredAuthenticationToken","message":"m"}})").kind() ==
        FailureKind::unauthorized);
  CHECK(error(429, R"({"error":{"code":"X","message":"m"}})").kind() == FailureKind::throttled);
  CHECK(error(502, "<html>").kind() == FailureKind::transient);
  RestError inner = error(
      400,
      R"({"error":{"code":"DeploymentFailed","message":"o","details":[{"code":"AllocationFailed","message":"No room.\r\nTrace"}]}})");
  CHECK(inner.message() == "cannot boot: No room [AllocationFailed] (try another region or size, or wait)");
}

TEST_CASE("Arm sizes of Azure are known by their names") {
  CHECK(azure_arch("Standard_D2ps_v5") == "aarch64");
  CHECK(azure_arch("Standard_E16plds_v6") == "aarch64");
  CHECK(azure_arch("Standard_D2s_v5") == "x86_64");
  CHECK(azure_arch("Standard_B2ms") == "x86_64");
  CHECK(azure_arch("odd") == "x86_64");
}

TEST_CASE("a key that nobody has is a key") {
  std::string key = unowned_ssh_key();
  CHECK(key != unowned_ssh_key());
  REQUIRE(key.starts_with("ssh-rsa "));
  auto blob = from_base64(key.substr(8, key.rfind(' ') - 8));
  REQUIRE(blob);
  CHECK(blob->size() == 279);
  CHECK(blob->substr(4, 7) == "ssh-rsa");
}

TEST_CASE("service principals are read in the forms that there are") {
  for (const char* text :
       {R"({"clientID":"c","clientSecret":"s","subscriptionID":"u","tenantID":"t"})",
        R"({"appId":"c","displayName":"d","password":"s","tenant":"t","subscriptionId":"u"})",
        R"({"clientId":"c","clientSecret":"s","subscriptionId":"u","tenantId":"t","extra":{}})"}) {
    AzureKey key = parse_azure_key(text, "f");
    CHECK((key.client == "c" && key.secret == "s" && key.tenant == "t" && key.subscription == "u"));
  }
  CHECK_THROWS_WITH(parse_azure_key(R"({"tenant":"t"})", "f"), "f.clientId: missing");
}
