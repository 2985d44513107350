#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/connect.h"

namespace rayctl::cli {

namespace {

struct Exec {
  bool tty = false, interactive = false;
  std::string user, workdir, container;
  std::vector<std::string> env, argv;
};

int exec(const Globals& globals, const Exec& e) {
  if (e.tty && !isatty(STDIN_FILENO))
    throw UsageError("rayctl exec: -t needs a terminal on stdin: leave it out in scripts and pipes");
  for (const std::string& variable : e.env)
    if (variable.find('=') == std::string::npos || variable[0] == '=')
      throw UsageError("rayctl exec: --env: '{}' isn't of the form NAME=VALUE", variable);
  if (e.argv.empty() && !e.interactive)
    throw UsageError("rayctl exec: name a command, or say -it for a shell");
  nlohmann::json body = {{"target", e.container},
                         {"argv", e.argv},
                         {"tty", e.tty},
                         {"user", e.user},
                         {"workdir", e.workdir},
                         {"env", e.env},
                         {"interactive", e.interactive}};
  if (const char* term = std::getenv("TERM"); e.tty && term)
    body["env"].push_back(std::string("TERM=") + term);
  using Streams = cluster::RequestStreams;
  Json reply = connect(globals).run("exec", body,
                                    {.in = e.interactive ? STDIN_FILENO : -1,
                                     .out = write_to(STDOUT_FILENO, "stdout"),
                                     .err = write_to(STDERR_FILENO, "stderr"),
                                     .terminal = e.tty ? Streams::Terminal::raw : Streams::Terminal::none,
                                     .signals = Streams::Signals::forward});
  return static_cast<int>(reply.at("code").integer());
}

}  // namespace

Command exec_command() {
  auto e = std::make_shared<Exec>();
  return {
      .name = "exec",
      .group = Group::node,
      .summary = "Run a command in a running container",
      .description = "Returns the command's exit code. Without COMMAND, -it opens a shell.",
      .arguments = {flag("-i,--interactive", e->interactive, "send what comes on stdin"),
                    flag("-t,--tty", e->tty, "with a terminal"),
                    option("-u,--user", "USER[:GROUP]", &e->user, "instead of the image's user"),
                    option("-w,--workdir", "DIR", &e->workdir, "instead of the image's working directory"),
                    option("-e,--env", "NAME=VALUE", &e->env, "set a variable; may be repeated"),
                    required(
                        positional("CONTAINER", &e->container, "id or its beginning, node name, or 'head'")),
                    rest("COMMAND", e->argv, "the command and its arguments")},
      .examples = {{"rayctl exec -it head", "a shell on the head"},
                   {"rayctl exec head python scripts/driver.py", "runs a script of the image"},
                   {"rayctl exec -i head -- python - < my.py", "runs a script of yours, with its exit code"}},
      .run = [e](const Globals& globals) { return exec(globals, *e); }};
}

}  // namespace rayctl::cli
