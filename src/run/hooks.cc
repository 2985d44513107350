#include "run/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kept_output = 4096;

// A hook that doesn't read its input must not end this process.
class WithoutSigpipe {
 public:
  WithoutSigpipe() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  ~WithoutSigpipe() { std::signal(SIGPIPE, before_); }

 private:
  void (*before_)(int);
};

// Feeds stdin and keeps the end of the output until both pipes are closed or `end` is reached; false = too
// late.
bool talk(Fd& input, Fd& output, std::string_view state, std::string& said,
          std::optional<Clock::time_point> end) {
  while (output) {
    pollfd watched[2] = {{output.get(), POLLIN, 0}, {input.get(), POLLOUT, 0}};
    int left = -1;
    if (end) left = static_cast<int>(std::chrono::ceil<milliseconds>(*end - Clock::now()).count());
    if (end && left <= 0) return false;
    if (poll(watched, 2, left) < 0) continue;
    if (watched[1].revents) {
      ssize_t n = write(input.get(), state.data(), state.size());
      if (n > 0) state.remove_prefix(static_cast<size_t>(n));
      if ((n < 0 && errno != EAGAIN && errno != EINTR) || state.empty()) input.reset();
    }
    if (watched[0].revents) {
      char buffer[4096];
      ssize_t n = read(output.get(), buffer, sizeof buffer);
      if (n > 0) said.append(buffer, static_cast<size_t>(n));
      if (said.size() > 2 * kept_output) said.erase(0, said.size() - kept_output);
      if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) output.reset();
    }
  }
  return true;
}

std::vector<std::string> own_environment() {
  std::vector<std::string> found;
  for (char** entry = environ; *entry; ++entry) found.emplace_back(*entry);
  return found;
}

void run_hook(const Hook& hook, const std::string& kind, const std::string& state) {
  Pipe in = make_pipe(), out = make_pipe();
  check(fcntl(in.write.get(), F_SETFL, O_NONBLOCK), "cannot set up a pipe");
  std::vector<std::string> argv = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
  argv[0] = hook.path;
  Child child = Child::spawn({.argv = argv,
                              .env = hook.env.empty() ? own_environment() : hook.env,
                              .cwd = "/",
                              .in = in.read.get(),
                              .out = out.write.get(),
                              .err = out.write.get()});
  in.read.reset();
  out.write.reset();
  std::optional<Clock::time_point> end;
  if (hook.timeout) end = Clock::now() + *hook.timeout;
  std::string said;
  bool in_time = talk(in.write, out.read, state, said, end);
  std::optional<Exit> exit;
  if (!end)
    exit = child.wait();
  else if (in_time)
    exit = child.wait_for(std::max(milliseconds(0), std::chrono::ceil<milliseconds>(*end - Clock::now())));
  if (!exit) throw Error("{} hook '{}' did not end within {} s", kind, hook.path, hook.timeout->count());
  if (exit->success()) return;
  while (!said.empty() && said.back() == '\n') said.pop_back();
  throw Error("{} hook '{}' failed: {}{}{}", kind, hook.path, describe(*exit), said.empty() ? "" : ": ",
              said);
}

}  // namespace

nlohmann::json to_json(const ContainerState& state) {
  nlohmann::json out{
      {"ociVersion", "1.2.0"}, {"id", state.id}, {"status", state.status}, {"bundle", state.bundle}};
  out["pid"] = state.pid;
  out["annotations"] = state.annotations;
  return out;
}

std::string to_text(const ContainerState& state) {
  return to_json(state).dump();
}

bool wants_state(const Hooks& hooks) {
  return !hooks.prestart.empty() || !hooks.create_runtime.empty() || !hooks.create_container.empty() ||
         !hooks.start_container.empty();
}

void run_hooks(const std::vector<Hook>& hooks, const std::string& kind, const std::string& state) {
  WithoutSigpipe guard;
  for (const Hook& hook : hooks) run_hook(hook, kind, state);
}

}  // namespace rayctl::run
