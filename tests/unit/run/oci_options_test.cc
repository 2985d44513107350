#include "run/oci_options.h"

#include <catch2/catch.hpp>
#include <csignal>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::run::oci;

namespace {

const Grammar create{.flags = {"-d|--detach"}, .values = {"-b|--bundle", "--preserve-fds"}};
const Grammar exec{.flags = {"-t|--tty"}, .values = {"-e|--env"}, .most = SIZE_MAX, .command_follows = true};

}  // namespace

TEST_CASE("options stand before and after the id, in every form that engines use") {
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"--bundle", "/b", "-d", "id"},
                                             {"id", "--bundle=/b", "--detach"},
                                             {"-b", "/b", "id", "-d"},
                                             {"-bundle", "/b", "-detach=true", "--", "id"}}) {
    Arguments arguments(create, "create", words);
    CHECK(arguments.value("--bundle") == "/b");
    CHECK(arguments.has("--detach"));
    CHECK(arguments.positionals() == std::vector<std::string>{"id"});
  }
  CHECK_FALSE(Arguments(create, "create", {"id", "--detach=false"}).has("--detach"));
  CHECK(Arguments(create, "create", {"id", "--preserve-fds", "3"}).number("--preserve-fds") == 3);
}

TEST_CASE("after exec's id nothing is an option") {
  Arguments arguments(exec, "exec", {"-e", "A=1", "--env=B=2", "-t", "id", "sh", "-c", "--env"});
  CHECK(arguments.all("--env") == std::vector<std::string>{"A=1", "B=2"});
  CHECK(arguments.positionals() == std::vector<std::string>{"id", "sh", "-c", "--env"});
}

TEST_CASE("wrong lines are usage errors") {
  CHECK_THROWS_WITH(Arguments(create, "create", {}), "create: the container's id is missing");
  CHECK_THROWS_WITH(Arguments(create, "create", {"a", "b"}), "create: unexpected argument 'b'");
  CHECK_THROWS_WITH(Arguments(create, "create", {"a", "--nosuch"}), "create: unknown option '--nosuch'");
  CHECK_THROWS_WITH(Arguments(create, "create", {"a", "--bundle"}), "create: '--bundle' needs a value");
  CHECK_THROWS_WITH(Arguments(create, "create", {"a", "--detach=x"}), "create: '--detach' takes no value");
  CHECK_THROWS_AS(Arguments(create, "create", {"a", "--preserve-fds", "3x"}).number("--preserve-fds"),
                  UsageError);
}

TEST_CASE("sizes of memory are taken with and without a unit") {
  const Grammar update{.values = {"--memory"}};
  auto bytes = [&](std::string text) {
    return Arguments(update, "update", {"id", "--memory", std::move(text)}).bytes("--memory");
  };
  CHECK(bytes("-1") == -1);
  CHECK(bytes("67108864") == 67108864);
  CHECK(bytes("64M") == 67108864);
  CHECK_THROWS_AS(bytes("64X"), Error);
  CHECK_FALSE(Arguments(update, "update", {"id"}).bytes("--memory"));
}

TEST_CASE("signals by name and number") {
  CHECK(parse_signal("15") == SIGTERM);
  CHECK(parse_signal("TERM") == SIGTERM);
  CHECK(parse_signal("sigkill") == SIGKILL);
  CHECK(parse_signal("SIGRTMIN+3") == SIGRTMIN + 3);
  CHECK(parse_signal("RTMAX-1") == SIGRTMAX - 1);
  CHECK(parse_signal("RTMIN") == SIGRTMIN);
  for (const char* text : {"", "0", "65", "-1", "SIG", "NOSUCH", "RTMIN+99", "RTMIN-1", "15x"})
    CHECK_THROWS_AS(parse_signal(text), UsageError);
}

TEST_CASE("ids are names of directories") {
  for (const char* id : {"a", "0123456789abcdef", "a_b+c-d.e"}) CHECK_NOTHROW(check_id(id));
  for (const char* id : {"", ".", "..", ".a", "a/b", "../a", "a b", "a\n"})
    CHECK_THROWS_AS(check_id(id), UsageError);
  CHECK_THROWS_AS(check_id(std::string("a\0b", 3)), UsageError);
}
