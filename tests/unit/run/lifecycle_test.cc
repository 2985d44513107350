#include "run/lifecycle.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/restart.h"

using namespace rayctl;
using namespace rayctl::run;
using namespace std::chrono_literals;

namespace {

ContainerExit ended(std::optional<int> code, std::chrono::seconds ran = 1s) {
  WallClock::time_point start{1'700'000'000s};
  return {.code = code, .started = start, .finished = start + ran};
}

Spec typical() {
  Spec spec;
  spec.process.args = {"ray", "start"};
  spec.process.env = {"PATH=/bin", "A=1", "HOME=/root"};
  spec.process.cwd = "/home/ray";
  spec.process.user = {.uid = 1000, .gid = 100};
  spec.linux_.namespaces = {{NamespaceType::mount}};
  spec.linux_.cgroups_path = "/rayctl-test/x";
  return spec;
}

}  // namespace

TEST_CASE("restarts come later and later, up to a limit", "[restart]") {
  RestartPolicy policy{.first = 100ms, .longest = 1000ms, .factor = 2, .healthy_after = 10s};
  RestartHistory history;
  std::vector<int64_t> delays;
  for (int i = 0; i < 6; ++i) {
    auto decision = decide_restart(policy, history, ended(1), 1.0);
    REQUIRE(decision);
    delays.push_back(decision->delay.count());
    history = decision->history;
  }
  CHECK(delays == std::vector<int64_t>{100, 200, 400, 800, 1000, 1000});
  CHECK(history.total == 6);
  // A run that was healthy for a while starts anew.
  auto decision = decide_restart(policy, history, ended(1, 10s), 1.0);
  CHECK(decision->delay == 100ms);
  CHECK(decision->history.in_a_row == 1);
  CHECK(decision->history.total == 7);
  CHECK(decide_restart(policy, {}, ended(1), 0.0)->delay == 80ms);
  history.in_a_row = 100'000;
  CHECK(decide_restart(policy, history, ended(1), 1.0)->delay == 1000ms);
}

TEST_CASE("who is restarted", "[restart]") {
  using When = RestartPolicy::When;
  CHECK_FALSE(decide_restart({.when = When::never}, {}, ended(1), 0));
  CHECK_FALSE(decide_restart({.when = When::on_failure}, {}, ended(0), 0));
  CHECK(decide_restart({.when = When::on_failure}, {}, ended(1), 0));
  CHECK(decide_restart({.when = When::on_failure}, {}, ended({}), 0));
  CHECK(decide_restart({.when = When::always}, {}, ended(0), 0));
  ContainerExit asked = ended(0);
  asked.stop_requested = true;
  CHECK_FALSE(decide_restart({.when = When::always}, {}, asked, 0));
  CHECK(decide_restart({.most = 3}, {.in_a_row = 2}, ended(1), 0));
  CHECK_FALSE(decide_restart({.most = 3}, {.in_a_row = 3}, ended(1), 0));
  CHECK(decide_restart({.most = 3}, {.in_a_row = 3}, ended(1, 1h), 0));
}

TEST_CASE("what is recorded of a container comes back", "[container]") {
  RunState state{.status = RunStatus::running,
                 .created = WallClock::time_point{1'700'000'000'123'456'789ns},
                 .started = WallClock::time_point{1'700'000'001s},
                 .shim = ProcessId{12, 34},
                 .init = ProcessId{56, 78},
                 .boot_id = "b",
                 .oom_kills = 9};
  CHECK(to_text(parse_state(to_text(state), "s")) == to_text(state));
  ContainerExit exit{.signal = 9,
                     .oom = true,
                     .oom_kills = 2,
                     .memory_peak = 1 << 20,
                     .cpu = 5us,
                     .error = "x",
                     .started = state.started,
                     .finished = state.created};
  CHECK(to_text(parse_exit(to_text(exit), "e")) == to_text(exit));
  CHECK(exit.status() == 137);
  ContainerOptions options{.id = "x",
                           .log = {1 << 20, 9},
                           .open_stdin = true,
                           .stop_signal = 10,
                           .shim_cgroup = "/s",
                           .labels = {{"a", "b"}}};
  CHECK(to_text(parse_options(to_text(options), "o")) == to_text(options));

  CHECK_THROWS_WITH(parse_state("{}", "state.json"), "state.json.status: missing");
  CHECK_THROWS_WITH(parse_state(R"({"status":"flying","created":"2026-01-01T00:00:00Z","bootId":""})", "s"),
                    "s.status: unknown 'flying'");
  CHECK_THROWS_WITH(parse_state(R"({"status":"running","created":"now","bootId":""})", "s"),
                    "s.created: 'now' is not a time");
  CHECK_THROWS_WITH(
      parse_state(
          R"({"status":"running","created":"2026-01-01T00:00:00Z","bootId":"","shim":{"pid":0,"startTime":1}})",
          "s"),
      "s.shim.pid: 0 is no process");
  CHECK_THROWS_WITH(parse_exit(R"({"code":256,"finished":"2026-01-01T00:00:00Z"})", "e"),
                    "e.code: at most 255");
}

TEST_CASE("an exit in words", "[container]") {
  CHECK(describe(ContainerExit{.code = 3}) == "exit code 3");
  CHECK(describe(ContainerExit{.code = 137, .oom = true, .oom_kills = 2}) ==
        "exit code 137 (out of memory: 2 processes killed)");
  CHECK(describe(ContainerExit{.signal = 9, .error = "its shim was killed"}) == "its shim was killed");
}

TEST_CASE("what an exec runs", "[container]") {
  ProcessSpec p = exec_process(typical(), {.argv = {"id"}, .env = {"A=2", "B=3"}}, {}, "");
  CHECK(p.args == std::vector<std::string>{"id"});
  CHECK(p.env == std::vector<std::string>{"PATH=/bin", "A=2", "HOME=/root", "B=3"});
  CHECK(p.cwd == "/home/ray");
  CHECK(p.user.uid == 1000);
  p = exec_process(typical(), {.argv = {"id"}, .user = "u", .cwd = "/tmp", .terminal = true},
                   {.uid = 7, .gid = 8}, "/h");
  CHECK(p.user.uid == 7);
  CHECK(p.cwd == "/tmp");
  CHECK(p.env == std::vector<std::string>{"PATH=/bin", "A=1", "HOME=/h", "TERM=xterm"});
  CHECK_THROWS_WITH(exec_process(typical(), {}, {}, ""), "cannot execute: no program is given");
  CHECK_THROWS_WITH(exec_process(typical(), {.argv = {"x"}, .env = {"A"}}, {}, ""),
                    "cannot execute: environment 'A' is not NAME=VALUE");
}

TEST_CASE("requests to a shim", "[container]") {
  auto back = [](const ShimRequest& r) { return to_text(parse_request(to_text(r))); };
  ProcessSpec process = typical().process;
  for (const ShimRequest& r :
       {ShimRequest{ExecCall{.process = process, .detach = true, .timeout = 5ms}}, ShimRequest{AttachCall{}},
        ShimRequest{StopCall{15, 35s}}, ShimRequest{SignalCall{2}}, ShimRequest{ResizeCall{24, 80}}})
    CHECK(back(r) == to_text(r));
  CHECK_THROWS_WITH(parse_request(R"({"op":"stop","signal":65,"graceMs":0})"), "request.signal: at most 64");
  CHECK_THROWS_WITH(parse_request(R"({"op":"attach","extra":1})"), "request: unknown key 'extra'");
  CHECK_THROWS_WITH(parse_request(R"({"op":"resize","rows":65536,"columns":1})"),
                    "request.rows: at most 65535");
  process.args = {"\xff"};
  CHECK_THROWS_WITH(to_text(ShimRequest{ExecCall{.process = process}}),
                    "cannot pass on the request: it holds text that isn't UTF-8");
  ShimReply reply = parse_reply(to_text(ShimReply{.pid = 5, .exit = Exit{.signal = 9}, .timed_out = true}));
  CHECK(reply.pid == 5);
  CHECK(reply.exit->signal == 9);
  CHECK(reply.timed_out);
}

TEST_CASE("frames cross a connection in pieces, with descriptors", "[container]") {
  SocketPair sockets = make_socket_pair(SOCK_STREAM);
  std::optional<Channel> a{std::move(sockets.first)};
  Channel b(std::move(sockets.second));
  TempDir dir;
  replace_file(join(dir.path(), "f"), "content");
  Fd file = open_file(join(dir.path(), "f"), O_RDONLY);
  std::string big(max_message, 'x');
  a->send(FrameKind::message, "first");
  a->send(FrameKind::message, big, file.get());  // more than the socket takes at once
  a->send(FrameKind::output, "last");
  std::vector<Frame> frames;
  for (int i = 0; i < 10'000 && frames.size() < 3; ++i) {
    CHECK(a->flush());
    CHECK(b.receive());
    while (auto frame = b.next()) frames.push_back(*frame);
  }
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].bytes == "first");
  CHECK(frames[1].bytes == big);
  CHECK(frames[2].kind == FrameKind::output);
  auto fds = b.take_fds();
  REQUIRE(fds.size() == 1);
  CHECK(read_fd(fds[0].get(), "f") == "content");
  CHECK_FALSE(b.wait_frame(1ms));
  a.reset();
  CHECK_FALSE(b.receive());
  CHECK_FALSE(b.wait_frame());
}

TEST_CASE("a container's directory", "[container]") {
  TempDir dir;
  ContainerDir made = ContainerDir::create(dir.path(), typical(), {.id = "c1"});
  CHECK(ContainerDir::list(dir.path()) == std::vector<std::string>{"c1"});
  ContainerDir found = ContainerDir::open(dir.path(), "c1");
  CHECK(found.state().status == RunStatus::created);
  CHECK(found.watch_fd() == -1);
  CHECK_FALSE(found.exit());
  CHECK(found.spec().process.args == typical().process.args);
  CHECK((status(join(made.path(), "spec.json"))->st_mode & 0777) == 0600);
  CHECK_THROWS_WITH(found.wait(), "cannot wait for container 'c1': it was never started");
  CHECK_THROWS_WITH(found.stop(1s), "cannot stop container 'c1': it was never started");
  CHECK_THROWS_WITH(found.signal(15), "cannot send a signal to container 'c1': it is not running");
  CHECK_THROWS_WITH(found.exec({.argv = {"true"}}), "cannot reach container 'c1': it is not running");
  CHECK_THROWS_WITH(ContainerDir::create(dir.path(), typical(), {.id = "c1"}),
                    "cannot create container 'c1': File exists");
  CHECK_THROWS_WITH(ContainerDir::create(dir.path(), Spec{}, {.id = "c2"}),
                    "cannot create container 'c2': its specification names no cgroup");
  CHECK_THROWS_WITH(ContainerDir::create(dir.path(), typical(), {.id = "../c"}),
                    "cannot use container id '../c': it must be 1 to 64 letters, digits, '_', '.' or '-'");
  auto binds = made.write_network_files("127.0.0.1 localhost\n", "nameserver 127.0.0.11\n");
  REQUIRE(binds.size() == 3);
  CHECK(read_file(binds[0].source) == "127.0.0.1 localhost\n");
  CHECK(read_file(join(made.path(), "hostname")) == "c1\n");
  ino_t inode = status(binds[0].source)->st_ino;
  made.write_network_files("short\n", "");
  CHECK(read_file(binds[0].source) == "short\n");
  CHECK(status(binds[0].source)->st_ino == inode);
}
