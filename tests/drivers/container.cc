// For functional tests: the life of a container by src/run alone, on a root directory, without images and
// clusters.
//   container create ID ROOTFS [-m BYTES] [-g] [-i] [-t] [-s LOG_SIZE] [-n LOG_FILES] [-S SIGNAL] [-u UID] --
//   ARGV… container start|adopt|state|exit|wait|remove|init-pid|shim-pid|stats|freeze|thaw ID;  stop ID
//   GRACE_MS container exec ID [-t] [-d] [-u USER] [-w DIR] [-e K=V]… [-T TIMEOUT_MS] -- ARGV… container logs
//   ID [-f] [-n TAIL] [-s SINCE];  attach ID;  sealed;  unseal;  leaf CGROUP NAME
// $C is the directory of containers, $RAYCTL_RUN_DIR the run directory, $CGROUP the parent cgroup.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/error.h"
#include "base/file.h"
#include "base/io.h"
#include "cli/early.h"
#include "run/lifecycle.h"
#include "run/sealed.h"

using namespace rayctl;
using namespace rayctl::run;
using std::chrono::milliseconds;

namespace {

std::string containers() {
  return std::getenv("C");
}
std::string run_dir() {
  return std::getenv("RAYCTL_RUN_DIR");
}

// Bytes from one descriptor to the other until the end.
void pump(int from, int to) {
  char buffer[4096];
  for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;)
    write_fd(to, std::string_view(buffer, static_cast<size_t>(n)), "pump");
}

int create(int argc, char** argv) {
  ContainerOptions options{.id = argv[1]};
  Defaults defaults{.cgroups_path = std::string(std::getenv("CGROUP")) + "/" + options.id};
  defaults.init_binary = sealed_binary(run_dir());
  Spec changes;
  std::string rootfs = argv[2];
  optind = 3;
  for (int c; (c = getopt(argc, argv, "+m:igts:n:S:u:")) != -1;) {
    if (c == 'm') defaults.resources.memory.limit = std::atoll(optarg);
    if (c == 'i') options.open_stdin = true;
    if (c == 'g') defaults.init_binary.clear();
    if (c == 't') defaults.terminal = true;
    if (c == 's') options.log.max_size = static_cast<uint64_t>(std::atoll(optarg));
    if (c == 'n') options.log.max_files = static_cast<unsigned>(std::atoi(optarg));
    if (c == 'S') options.stop_signal = std::atoi(optarg);
    if (c == 'u') defaults.user.uid = static_cast<uint32_t>(std::atoi(optarg));
  }
  defaults.args.assign(argv + optind, argv + argc);
  defaults.hostname = options.id;
  std::string state = join(containers(), "../overlay-" + options.id);
  for (const char* name : {"upper", "work"}) make_directories(join(state, name));
  defaults.overlay =
      Overlay{.lowerdirs = {absolute(rootfs)}, .upper = join(state, "upper"), .work = join(state, "work")};
  ContainerDir made = ContainerDir::create(containers(), default_spec(defaults), options);
  defaults.binds = made.write_network_files("127.0.0.1 localhost\n", "nameserver 127.0.0.11\n");
  made.set_spec(default_spec(defaults));
  return 0;
}

int exec(ContainerDir& dir, int argc, char** argv) {
  ExecRequest request;
  optind = 2;
  for (int c; (c = getopt(argc, argv, "+tdu:w:e:T:")) != -1;) {
    if (c == 't') request.terminal = true;
    if (c == 'd') request.detach = true;
    if (c == 'u') request.user = optarg;
    if (c == 'w') request.cwd = optarg;
    if (c == 'e') request.env.push_back(optarg);
    if (c == 'T') request.timeout = milliseconds(std::atoi(optarg));
  }
  if (request.terminal) request.size = ConsoleSize{24, 80};
  request.argv.assign(argv + optind, argv + argc);
  ExecSession session = dir.exec(request);
  if (request.detach) return 0;
  if (request.terminal) {
    session.resize(31, 97);
    if (fork() == 0) {
      pump(0, session.terminal());
      _exit(0);
    }
    pump(session.terminal(), 1);
  }
  ExecResult result = *session.wait();
  if (result.timed_out) std::cerr << "timed out\n";
  return result.exit.code ? *result.exit.code : 128 + *result.exit.signal;
}

int logs(ContainerDir& dir, int argc, char** argv) {
  LogQuery query;
  bool follow = false;
  optind = 2;
  for (int c; (c = getopt(argc, argv, "+fn:s:")) != -1;) {
    if (c == 'f') follow = true;
    if (c == 'n') query.tail = std::strtoull(optarg, nullptr, 10);
    if (c == 's') query.since = parse_time(optarg);
  }
  query.follow = follow;
  LogReader reader = dir.log(query);
  int ended = dir.watch_fd();
  for (bool last = !follow || ended < 0;;) {
    std::string text;
    auto records = reader.next();
    for (const LogRecord& r : records) {
      if (r.stream == Stream::rayctl) text += "[rayctl] ";
      text += r.text + (r.partial ? "" : "\n");
    }
    write_fd(1, text, "stdout");
    if (!records.empty()) continue;
    if (last) return 0;
    pollfd watched[2] = {{reader.fd(), POLLIN, 0}, {ended, POLLIN, 0}};
    poll(watched, 2, -1);
    last = watched[1].revents != 0;
  }
}

int attach(ContainerDir& dir) {
  Attachment attachment = dir.attach();
  if (fork() == 0) {
    char buffer[4096];
    for (ssize_t n; (n = read(0, buffer, sizeof buffer)) > 0;)
      attachment.send(std::string_view(buffer, static_cast<size_t>(n)));
    attachment.close_input();
    _exit(0);
  }
  while (auto frame = attachment.next())
    write_fd(frame->kind == FrameKind::errors ? 2 : 1, frame->bytes, "stdout");
  return 0;
}

int act(int argc, char** argv) {
  std::string verb = argv[0];
  if (verb == "sealed") return std::cout << sealed_binary(run_dir()) << "\n", 0;
  if (verb == "unseal") return remove_sealed_binaries(run_dir()), 0;
  if (verb == "leaf") return move_to_leaf(argv[1], argv[2]), 0;
  if (verb == "list") {
    for (const std::string& id : ContainerDir::list(containers())) std::cout << id << "\n";
    return 0;
  }
  if (verb == "create") return create(argc, argv);
  ContainerDir dir = ContainerDir::open(containers(), argv[1]);
  if (verb == "start") return dir.launch(run_dir()), 0;
  if (verb == "exec") return exec(dir, argc, argv);
  if (verb == "logs") return logs(dir, argc, argv);
  if (verb == "attach") return attach(dir);
  if (verb == "adopt") return std::cout << name_of(dir.adopt().status) << "\n", 0;
  if (verb == "state") return std::cout << name_of(dir.state().status) << "\n", 0;
  if (verb == "init-pid") return std::cout << dir.state().init->pid << "\n", 0;
  if (verb == "shim-pid") return std::cout << dir.state().shim->pid << "\n", 0;
  if (verb == "exit") return std::cout << to_text(dir.exit().value()), 0;
  if (verb == "wait") return std::cout << describe(*dir.wait()) << "\n", 0;
  if (verb == "stop") return std::cout << describe(dir.stop(milliseconds(std::atoi(argv[2])))) << "\n", 0;
  if (verb == "signal") return dir.signal(std::atoi(argv[2])), 0;
  if (verb == "remove") return dir.remove(), 0;
  if (verb == "freeze") return dir.freeze(), 0;
  if (verb == "thaw") return dir.thaw(), 0;
  if (verb == "stats") {
    CgroupStats s = dir.stats();
    std::cout << "memory " << s.memory_current.value_or(0) << "\nlimit " << s.memory_limit.value_or(0)
              << "\npeak " << s.memory_peak.value_or(0) << "\npids " << s.pids.value_or(0) << "\noom "
              << s.oom_kills << "\ncpu " << (s.cpu ? s.cpu->count() : 0) << "\n";
    return 0;
  }
  throw UsageError("no such verb: {}", verb);
}

}  // namespace

int main(int argc, char** argv) {
  if (int code = cli::run_early(argc, argv); code >= 0) return code;
  try {
    return act(argc - 1, argv + 1);
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
