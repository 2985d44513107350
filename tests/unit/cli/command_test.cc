#include "cli/command.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::cli;

namespace {

struct Exec {
  bool tty = false, input = false;
  std::string user, id;
  std::vector<std::string> env, argv;
  uint64_t tail = 10;
  std::optional<Size> memory;
};

std::vector<Command> table(Exec& e) {
  Command exec{
      .name = "exec",
      .group = Group::node,
      .summary = "Run a command in a container",
      .arguments = {flag("-t,--tty", e.tty, "with a terminal"),
                    flag("-i,--interactive", e.input, "with input"),
                    option("-u,--user", "USER", &e.user, "as this user"),
                    option("-e,--env", "K=V", &e.env, "set a variable"),
                    option("--tail", "N", &e.tail, "lines"), option("--memory", "SIZE", &e.memory, "memory"),
                    required(positional("CONTAINER", &e.id, "which one")),
                    rest("COMMAND", e.argv, "what to run")},
      .examples = {{"rayctl exec head ls", "lists files"}},
      .run = [](const Globals&) { return 7; }};
  Command token{.name = "token", .summary = "Manage tokens"};
  token.commands = {{.name = "create", .summary = "Make a token", .run = [](const Globals&) { return 8; }}};
  return {exec, token};
}

int run(Exec& e, std::vector<std::string> words) {
  std::vector<char*> argv = {const_cast<char*>("rayctl")};
  for (std::string& w : words) argv.push_back(w.data());
  return dispatch(static_cast<int>(argv.size()), argv.data(), table(e));
}

std::string error_of(std::vector<std::string> words) {
  Exec e;
  try {
    run(e, std::move(words));
  } catch (const UsageError& error) {
    return error.message();
  }
  return "no error";
}

}  // namespace

TEST_CASE("what follows the container belongs to the command that runs in it") {
  Exec e;
  CHECK(run(e, {"exec", "-it", "-u", "ray", "-e", "A=1", "--env=B=2", "head", "ls", "-l", "--help"}) == 7);
  CHECK((e.tty && e.input));
  CHECK(e.user == "ray");
  CHECK(e.env == std::vector<std::string>{"A=1", "B=2"});
  CHECK(e.id == "head");
  CHECK(e.argv == std::vector<std::string>{"ls", "-l", "--help"});
}

TEST_CASE("a double dash separates") {
  Exec e;
  CHECK(run(e, {"exec", "head", "--", "python", "-"}) == 7);
  CHECK(e.argv == std::vector<std::string>{"python", "-"});
}

TEST_CASE("families of commands and global options in front") {
  Exec e;
  CHECK(run(e, {"--state-dir", "/x", "token", "create"}) == 8);
  CHECK(run(e, {"exec", "--tail", "5", "--memory", "2GiB", "--log-level", "debug", "head"}) == 7);
  CHECK(e.tail == 5);
  CHECK(e.memory->bytes == (2ull << 30));
  run(e, {"exec", "--log-level", "info", "x"});
}

TEST_CASE("a wrong line names the argument and the help to read") {
  CHECK(error_of({"exce"}) ==
        "unknown command 'rayctl exce', did you mean 'rayctl exec'?; see 'rayctl --help'");
  CHECK(error_of({"exec", "--userr", "x", "head"}) ==
        "rayctl exec: unknown option '--userr', did you mean '--user'? (see 'rayctl exec --help')");
  CHECK(error_of({"exec", "--tail", "-5", "head"}).find("--tail") != std::string::npos);
  CHECK(error_of({"exec", "--tail", "many", "head"}) ==
        "rayctl exec: --tail: expected a whole number, found 'many' (see 'rayctl exec --help')");
  CHECK(error_of({"exec", "--memory", "4X", "head"}) ==
        "rayctl exec: --memory: cannot read '4X' as a size: the unit 'x' isn't one of B, K, M, G, T (see "
        "'rayctl exec --help')");
  CHECK(error_of({"exec"}).find("CONTAINER is required") != std::string::npos);
  CHECK(error_of({"token"}) == "rayctl token: name a command: create");
  CHECK(error_of({"token", "create", "x"}) ==
        "rayctl token create: unknown argument 'x' (see 'rayctl token create --help')");
  CHECK(error_of({"exec", "--log-level", "loud", "head"}) ==
        "rayctl exec: --log-level: 'loud' isn't one of error|warn|info|debug (see 'rayctl exec --help')");
}

TEST_CASE("help, man page and completion come from the table") {
  Exec e;
  std::vector<Command> commands = table(e);
  std::string help = help_text("rayctl exec", commands[0]);
  CHECK(help.find("usage: rayctl exec [OPTION]... CONTAINER [COMMAND]...\n") != std::string::npos);
  CHECK(help.find("  -t, --tty                   with a terminal\n") != std::string::npos);
  CHECK(help.find("      --tail N                lines (default 10)\n") != std::string::npos);
  CHECK(help.find("Examples:\n  rayctl exec head ls\n") != std::string::npos);
  CHECK(man_page("rayctl exec", commands[0]).find(".TH \"rayctl\\-exec\" 1\n") == 0);
  for (const char* shell : {"bash", "zsh", "fish"}) {
    std::string script = completion_script(shell, commands);
    CHECK(script.find("create") != std::string::npos);
    CHECK(script.find("user") != std::string::npos);
  }
}
