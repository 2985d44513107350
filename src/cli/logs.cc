#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"

namespace rayctl::cli {

namespace {

struct Logs {
  bool follow = false, timestamps = false;
  std::optional<uint64_t> tail;
  std::optional<std::string> since;
  std::string container;
};

int logs(const Globals& globals, const Logs& l) {
  nlohmann::json body = {{"target", l.container}, {"follow", l.follow}, {"timestamps", l.timestamps}};
  if (l.tail) body["tail"] = *l.tail;
  if (l.since) body["since_seconds"] = parse_duration(*l.since).count();
  connect(globals).run("logs", body,
                       {.out = write_to(STDOUT_FILENO, "stdout"), .err = write_to(STDERR_FILENO, "stderr")});
  return 0;
}

}  // namespace

Command logs_command() {
  auto l = std::make_shared<Logs>();
  return {.name = "logs",
          .group = Group::node,
          .summary = "Show a container's output",
          .arguments = {flag("-f,--follow", l->follow, "go on as it grows, also over restarts"),
                        flag("-t,--timestamps", l->timestamps, "in front of each line"),
                        option("-n,--tail", "N", &l->tail, "only the last N lines"),
                        option("--since", "TIME", &l->since, "only what is younger, for example 10m"),
                        required(positional("CONTAINER", &l->container,
                                            "id or its beginning, node name, or 'head'"))},
          .examples = {{"rayctl logs head", "the head's, with the lines to paste into a driver"},
                       {"rayctl logs -f -n 20 ray-wk-0", "a worker's last lines and what follows"}},
          .run = [l](const Globals& globals) { return logs(globals, *l); }};
}

}  // namespace rayctl::cli
