#include "cloud/gce.h"

#include <catch2/catch.hpp>
#include <set>

#include "base/file.h"
#include "base/json.h"

using namespace rayctl;
using namespace rayctl::cloud;

TEST_CASE("names are made such that clouds accept them and different texts stay different") {
  CHECK(cloud_name("ray-", "ray-m-1") == "ray-ray-m-1");
  CHECK(cloud_name("", "ray") == "ray");
  std::set<std::string> names;
  for (const std::string& text :
       {std::string("Ray"), std::string("ray_"), std::string("ray."), std::string("1ray"), std::string(""),
        std::string("ré"), std::string(100, 'a'), std::string(101, 'a'), std::string("ray-")}) {
    std::string name = cloud_name("", text);
    INFO(name);
    CHECK(names.insert(name).second);
    CHECK(name.size() <= 63);
    CHECK((name[0] >= 'a' && name[0] <= 'z'));
    CHECK(name.back() != '-');
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos);
  }
  CHECK(uuid_of("a") == uuid_of("a"));
  CHECK(uuid_of("a") != uuid_of("b"));
  CHECK(uuid_of("a").size() == 36);
  CHECK(uuid_of("a")[14] == '5');
}

TEST_CASE("an instance is asked for as planned") {
  MachineWant want{.key = "m-1",
                   .cluster = "ray",
                   .role = "worker",
                   .disk_gb = 50,
                   .spot = true,
                   .ssh_keys = {"ssh-ed25519 A", "ssh-rsa B"},
                   .user_data = "#cloud-boothook\n",
                   .labels = {{"Team", "A b"}}};
  std::string text = gce_instance_body(want, "c4a-standard-4", "us-east1-b", gce_image("", "aarch64", "p"),
                                       "global/networks/default");
  std::string path = "tests/golden/cloud/gce_instance.json";
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text + "\n");
  CHECK(text + "\n" == read_file(path));
  CHECK(gce_image("debian-cloud/debian-12", "x86_64", "p") ==
        "projects/debian-cloud/global/images/family/debian-12");
  CHECK(gce_image("mine", "x86_64", "p") == "projects/p/global/images/mine");
  CHECK_THROWS_AS(gce_image("a/b/c", "x86_64", "p"), ProviderError);
}

TEST_CASE("instances of Google are read") {
  Machine m = gce_machine(Json::parse(
      R"({"name":"ray-ray-m-1","zone":"https://x/zones/us-east1-b","machineType":"https://x/machineTypes/n2-standard-2","status":"TERMINATED",
      "statusMessage":"preempted","labels":{"rayctl-role":"head"},"metadata":{"items":[{"key":"rayctl-cluster","value":"Ray"},{"key":"rayctl-key",
      "value":"m-1"}]},"networkInterfaces":[{"networkIP":"10.0.0.2","accessConfigs":[{"natIP":"198.51.100.1"}]}],"scheduling":{"provisioningModel":
      "SPOT"},"disks":[{"boot":true,"diskSizeGb":"50"}],"creationTimestamp":"2025-01-02T03:04:05.678-08:00"})",
      "i"));
  CHECK((m.cluster == "Ray" && m.key == "m-1" && m.role == "head" && m.spot && m.disk_gb == 50));
  CHECK((m.region == "us-east1" && m.zone == "us-east1-b" && m.size == "n2-standard-2"));
  CHECK((m.public_address == "198.51.100.1" && m.private_address == "10.0.0.2"));
  CHECK(m.state == MachineState::stopped);
  CHECK(std::chrono::system_clock::to_time_t(m.launched) == 1735815845);
  CHECK_THROWS_AS(gce_machine(Json::parse("{}", "i")), Error);
}

TEST_CASE("errors of Google have a kind and a next step") {
  auto kind = [](int status, const std::string& reason) {
    HttpResponse response;
    response.status = status;
    response.body = R"({"error":{"code":1,"message":"No.","errors":[{"reason":")" + reason + R"("}]}})";
    return name_of(gce_error("x", response).kind());
  };
  CHECK(kind(403, "quotaExceeded") == "quota");
  CHECK(kind(403, "rateLimitExceeded") == "throttled");
  CHECK(kind(403, "forbidden") == "unauthorized");
  CHECK(kind(404, "notFound") == "not found");
  CHECK(kind(400, "invalid") == "invalid");
  CHECK(kind(503, "backendError") == "transient");
  HttpResponse html;
  html.status = 502;
  html.body = "<html>";
  CHECK(gce_error("x", html).message() == "x: status 502 (wait, and type it again)");
  Json done = Json::parse(
      R"({"status":"DONE","error":{"errors":[{"code":"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS","message":"m"}]}})",
      "o");
  CHECK(gce_another_zone_may_do(*gce_operation_error("x", done)));
  CHECK_FALSE(gce_operation_error("x", Json::parse(R"({"status":"DONE"})", "o")));
}

TEST_CASE("a firewall of Google has a rule for each kind of source") {
  Firewall firewall{.admin_cidrs = {"203.0.113.7", "2001:db8::1"},
                    .public_ports = {{80, 80}, {90, 95}},
                    .peer_addresses = {"198.51.100.1"}};
  std::string text;
  for (const GceFirewall& rule : gce_firewalls("ray", firewall, "global/networks/default"))
    text += rule.body + "\n";
  std::string path = "tests/golden/cloud/gce_firewalls.json";
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(text == read_file(path));
  auto a = gce_firewalls(std::string(100, 'a'), {}, "n"), b = gce_firewalls(std::string(99, 'a'), {}, "n");
  CHECK(a[0].name != b[0].name);
  CHECK(a[0].name.size() <= 63);
}

TEST_CASE("credentials files of Google are checked") {
  auto error = [](const char* text) {
    try {
      parse_google_key(text, "f");
      return std::string("accepted");
    } catch (const Error& e) {
      return e.message();
    }
  };
  CHECK(error(R"({"type":"service_account","client_email":"e","private_key":"k"})") == "accepted");
  CHECK(error(R"({"type":"service_account","client_email":"e"})") == "f.private_key: missing");
  CHECK(error(R"({"type":"authorized_user","client_id":"e","client_secret":"s","refresh_token":"t"})") ==
        "accepted");
  CHECK(error(R"({"type":"external_account"})") ==
        "f: credentials of type 'external_account' aren't among ours: service_account, authorized_user");
  CHECK(
      error(
          R"({"type":"service_account","client_email":"e","private_key":"k","token_uri":"http://x.test/"})") ==
      "f.token_uri: 'http://x.test/' isn't https");
  GoogleKey key =
      parse_google_key(R"({"type":"service_account","client_email":"e","private_key":"no PEM"})", "f");
  CHECK_THROWS_WITH(google_assertion(key, {}), "private_key: expected an RSA key in PEM");
}
