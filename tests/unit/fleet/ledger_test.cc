#include "fleet/ledger.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "fleet/acl.h"
#include "fleet/delivery.h"
#include "fleet/documents.h"
#include "fleet/keeper.h"
#include "fleet/quick.h"
#include "fleet/secrets.h"
#include "fleet/settings.h"
#include "unit/fleet/samples.h"

namespace rayctl::fleet {

using namespace samples;

TEST_CASE("the journal: numbers are never used again, and survive", "[fleet]") {
  TempDir directory;
  Home home{join(directory.path(), "ray-1")};
  CHECK_FALSE(read_ledger(home));
  std::string uid_before;
  {
    Ledger ledger(home, "ray-1");
    for (const MachineRecord& r : booted(wishes_of(deployment(2), catalog()))) {
      MachineRecord fresh = r;
      ledger.add(fresh);
    }
    CHECK(ledger.find(2)->is_head());
    CHECK(ledger.find(5) == nullptr);
    CHECK(ledger.container_number("c1") == 5);
    CHECK(ledger.container_number("c1") == 5);
    uid_before = ledger.data().uid;
    CHECK(ledger.find(3)->key == key_of(uid_before, 3));
    ledger.commit();
    CHECK(status(home.machines())->st_mode % 01000 == 0600);
  }
  Ledger ledger(home, "ray-1");
  CHECK(ledger.data().uid == uid_before);
  CHECK(ledger.data().machines.size() == 3);
  CHECK(ledger.add({}).number == 6);
  std::string text = to_text(ledger.data());
  CHECK(to_text(parse_ledger(text, "ledger")) == text);
  CHECK_THROWS_WITH(parse_ledger(R"({"version": 9})", "x"), Catch::Contains("use a newer rayctl"));
}

TEST_CASE("one owner at a time", "[fleet]") {
  TempDir directory;
  Home home{join(directory.path(), "c")};
  auto own = Ownership::try_take(home, "up");
  REQUIRE(own);
  CHECK_FALSE(Ownership::try_take(home, "down"));
  CHECK_THROWS_WITH(Ownership::take(home, "c", "down"), Catch::Contains("(rayctl up) is doing so"));
  CHECK(Ownership::current(home)->what == "up");
  own.reset();
  CHECK_FALSE(Ownership::current(home));
  CHECK(Ownership::try_take(home, "down"));
}

TEST_CASE("who only looks at a cluster keeps nobody from changing it", "[fleet]") {
  TempDir directory;
  Home home{join(directory.path(), "c")};
  auto look = Ownership::try_take(home, look_at_it);
  REQUIRE(look);
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    look.reset();
  });
  auto began = std::chrono::steady_clock::now();
  {
    Ownership own = Ownership::take(home, "c", "up");
    CHECK(std::chrono::steady_clock::now() - began >= std::chrono::milliseconds(200));
    CHECK(Ownership::current(home)->what == "up");
  }
  later.join();
  // It has the lock, and its note isn't there yet.
  auto unsigned_owner = Ownership::try_take(home, "down");
  replace_file(home.owner(), R"({"pid": 999999999, "what": "up"})");
  std::thread then([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    unsigned_owner.reset();
  });
  CHECK_NOTHROW(Ownership::take(home, "c", "up"));
  then.join();
}

TEST_CASE("namespaces", "[fleet]") {
  CHECK(home_of("vivian-ray-1").directory.ends_with("/rayctl/clusters/vivian-ray-1"));
  for (const char* bad : {"", ".", "..", "a/b", "-a", "a b", "\xc3\xa4"})
    CHECK_THROWS_AS(home_of(bad), UsageError);
  CHECK_THROWS_AS(home_of(std::string(64, 'a')), UsageError);
}

TEST_CASE("orders, settings and secrets survive their files", "[fleet]") {
  TempDir directory;
  Home home{directory.path()};
  CHECK_FALSE(read_order(home));
  Order order{.kind = Order::Kind::end, .deployment = deployment(2), .settings = {}};
  stitch::complete(order.deployment);
  order.settings.endpoint = "http://127.0.0.1:5000";
  order.settings.admin_cidrs = {"10.0.0.0/8"};
  order.settings.image = "ray";
  write_order(home, order);
  auto again = read_order(home);
  REQUIRE(again);
  CHECK(again->kind == Order::Kind::end);
  CHECK(again->settings == order.settings);
  CHECK(stitch::to_json(again->deployment) == stitch::to_json(order.deployment));

  Secrets secrets;
  secrets.claimed_head = 2;
  secrets.early.push_back({"rctl1.x", {.id = "abcdefgh", .secret_hash = std::string(64, 'a')}});
  write_secrets(home, secrets);
  CHECK(status(home.secrets())->st_mode % 01000 == 0600);
  Secrets back = read_secrets(home);
  CHECK(back.claimed_head == 2);
  REQUIRE(back.early.size() == 1);
  CHECK(back.early[0].token == "rctl1.x");
  CHECK(back.early[0].record.id == "abcdefgh");

  std::string key = cluster_ssh_key(home, "ray-1");
  CHECK(key.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"));
  CHECK(key.ends_with(" rayctl-ray-1"));
  CHECK(cluster_ssh_key(home, "ray-1") == key);
  CHECK(status(home.ssh_key())->st_mode % 01000 == 0600);
}

TEST_CASE("AdminACL", "[fleet]") {
  int asked = 0;
  auto caller = [&] {
    ++asked;
    return std::string("203.0.113.7");
  };
  CHECK(admin_cidrs({}, caller) == std::vector<std::string>{"203.0.113.7/32"});
  CHECK(admin_cidrs({"local", "10.0.0.0/8", "local", "2001:db8::1"}, caller) ==
        std::vector<std::string>{"10.0.0.0/8", "2001:db8::1/128", "203.0.113.7/32"});
  CHECK(asked == 2);
  admin_cidrs({"10.0.0.0/8"}, caller);
  CHECK(asked == 2);
  CHECK(caller_address({.provider = "Local", .endpoint = "", .service = ""}) == "127.0.0.1");
  CHECK(caller_address({.provider = "Amazon", .endpoint = "http://127.0.0.1:5000", .service = ""}) ==
        "127.0.0.1");
  stitch::Deployment d = deployment(1);
  d.connections = {
      {"public", "web", 80, 80}, {"a", "b", 1, 9}, {"public", "other", 80, 80}, {"public", "x", 22, 22}};
  auto ports = public_ports(d);
  REQUIRE(ports.size() == 2);
  CHECK(ports[0].first == 22);
  CHECK(ports[1].first == 80);
}

TEST_CASE("without a file", "[fleet]") {
  stitch::Deployment d = quick_deployment(
      {.provider = "Amazon", .workers = 2, .size = "m6i.large", .head_size = "m6i.xlarge", .spot = true});
  REQUIRE(d.machines.size() == 3);
  CHECK(d.machines[0].role == "Master");
  CHECK(d.machines[0].size == "m6i.xlarge");
  CHECK_FALSE(d.machines[0].spot);
  CHECK(d.machines[2].spot);
  CHECK(d.machines[2].size == "m6i.large");
  CHECK_THROWS_AS(quick_deployment({.provider = "Amazon", .workers = 0}), UsageError);
  TempDir directory;
  std::string file = join(directory.path(), "k.pub");
  replace_file(file, "ssh-ed25519 AAAA me\n");
  CHECK(read_ssh_key(file) == "ssh-ed25519 AAAA me");
  CHECK(read_ssh_key(" ssh-rsa AAAA me") == "ssh-rsa AAAA me");
  replace_file(file, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
  CHECK_THROWS_WITH(read_ssh_key(file), Catch::Contains("is a private key, which stays here"));
  CHECK(parse_keys("ssh-ed25519 AAAA\n\nssh-rsa BBBB\n", "me") ==
        std::vector<std::string>{"ssh-ed25519 AAAA me@github", "ssh-rsa BBBB me@github"});
  CHECK_THROWS_WITH(parse_keys("", "me"), Catch::Contains("no ssh key there"));
  CHECK_THROWS_WITH(parse_keys("<html>\n", "me"), Catch::Contains("a line that is none"));
}

TEST_CASE("what machines are told", "[fleet]") {
  auto records = booted(wishes_of(deployment(1), catalog()));
  DocumentInput input;
  input.image = "registry:5000/ray";
  input.workers = 1;
  input.binary.sha256 = std::string(64, 'a');
  input.ssh_keys = {"ssh-ed25519 AAAA rayctl-ray-1"};
  CHECK(
      head_config(input, records[0]) ==
      R"({"image":"registry:5000/ray","labels":{"provider":"Amazon","region":"us-west-1","size":"small"},"role":"head","workers":1})");
  CHECK(
      worker_config(input, records[1], "172.31.0.2") ==
      R"({"join":"172.31.0.2:7443","labels":{"provider":"Amazon","region":"us-west-1","size":"small"},"role":"worker"})");
  std::string text = worker_document(input, records[1], "172.31.0.2", "rctl1.a.worker.b.c");
  CHECK(text.find("http://172.31.0.2:7443/rayctl") != std::string::npos);
  CHECK(text.find("rctl1.a.worker.b.c") != std::string::npos);
  CHECK(text.size() < 4096);
  input.settings.binary_url = "https://example.org/rayctl";
  input.binary.urls = {input.settings.binary_url};
  CHECK(worker_document(input, records[1], "172.31.0.2", "t").find("172.31.0.2:7443/rayctl") ==
        std::string::npos);

  CHECK(head_address_for(records[1], records[0]) == records[0].private_address);
  MachineRecord far = records[1];
  far.region = "eu-west-1";
  CHECK(head_address_for(far, records[0]) == records[0].public_address);
}

}  // namespace rayctl::fleet
