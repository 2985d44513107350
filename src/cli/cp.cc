#include <unistd.h>

#include <csignal>
#include <exception>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "ray/copy.h"
#include "ray/start.h"

namespace rayctl::cli {

namespace {

struct Copy {
  bool archive = false, follow = false;
  std::string source, dest;
};

struct Place {
  std::string container;  // empty: this machine
  std::string path;
};

// "CONTAINER:PATH"; a local path that has a colon is written with a slash in front of it ("./a:b").
Place parse_place(const std::string& text) {
  size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || text.find('/') < colon) return {"", text};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

// Runs rayctl's own copier in the container, as root there, as docker's does.
void run_copier(const Globals& globals, const std::string& container, std::vector<std::string> argv, int in,
                const Sink& out) {
  std::string errors;
  argv.insert(argv.begin(), ray::init_path);
  nlohmann::json body = {{"target", container},
                         {"argv", argv},
                         {"tty", false},
                         {"user", "0:0"},
                         {"workdir", "/"},
                         {"interactive", in >= 0},
                         {"env", nlohmann::json::array()}};
  Json reply = connect(globals).run("exec", body, {.in = in, .out = out, .err = [&](Bytes bytes) {
                                                     errors += as_text(bytes).substr(0, 4096);
                                                   }});
  if (reply.at("code").integer() != 0) throw Error("{}: {}", container, printable(trim(errors)));
}

// `work` on a thread of its own; its error is rethrown by join().
class Worker {
 public:
  explicit Worker(std::function<void()> work)
      : thread_([this, work = std::move(work)] {
          try {
            work();
          } catch (...) {
            error_ = std::current_exception();
          }
        }) {}
  ~Worker() {
    if (thread_.joinable()) thread_.join();
  }
  void join() {
    thread_.join();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
  std::thread thread_;
};

void copy_out(const Globals& globals, const Copy& c, const Place& from) {
  std::vector<std::string> argv = {"copy-send"};
  if (c.follow) argv.push_back("--follow");
  argv.push_back(from.path);
  if (c.dest == "-") return run_copier(globals, from.container, argv, -1, write_to(STDOUT_FILENO, "stdout"));
  Pipe pipe = make_pipe();
  Worker receiver([&] {
    Fd end = std::move(pipe.read);  // closed when we fail, so that the sender stops
    ray::copy_receive(c.dest, c.archive ? ray::CopyOwner::archive : ray::CopyOwner::receiver, end.get());
  });
  std::exception_ptr failure;
  try {
    run_copier(globals, from.container, argv, -1, write_to(pipe.write.get(), "the local copier"));
  } catch (const Error&) {
    failure = std::current_exception();
  }
  pipe.write.reset();
  try {
    receiver.join();
  } catch (const Error&) {
    if (!failure)
      failure = std::current_exception();  // a broken stream is only the other side's failure seen from here
  }
  if (failure) std::rethrow_exception(failure);
}

void copy_in(const Globals& globals, const Copy& c, const Place& to) {
  std::vector<std::string> argv = {"copy-receive"};
  if (c.archive) argv.push_back("--archive");
  argv.push_back(to.path);
  if (c.source == "-") return run_copier(globals, to.container, argv, STDIN_FILENO, {});
  Pipe pipe = make_pipe();
  Worker sender([&] {
    Fd end = std::move(pipe.write);
    ray::copy_send(c.source, c.follow ? ray::CopyLink::follow : ray::CopyLink::keep, end.get());
  });
  std::exception_ptr failure;
  try {
    run_copier(globals, to.container, argv, pipe.read.get(), {});
  } catch (const Error&) {
    failure = std::current_exception();
  }
  pipe.read.reset();
  sender.join();  // what went wrong here comes first: the other side saw only a broken stream
  if (failure) std::rethrow_exception(failure);
}

int copy(const Globals& globals, const Copy& c) {
  std::signal(SIGPIPE, SIG_IGN);  // a side that fails closes the pipe; the write says so
  Place from = parse_place(c.source), to = parse_place(c.dest);
  if (from.container.empty() == to.container.empty())
    throw UsageError("rayctl cp: exactly one of '{}' and '{}' must be CONTAINER:PATH", c.source, c.dest);
  if ((from.container.empty() ? to : from).path.empty())
    throw UsageError("rayctl cp: the path after ':' is empty");
  if (from.container.empty())
    copy_in(globals, c, to);
  else
    copy_out(globals, c, from);
  return 0;
}

}  // namespace

Command cp_command() {
  auto c = std::make_shared<Copy>();
  return {.name = "cp",
          .group = Group::node,
          .summary = "Copy files between a container and this machine",
          .description =
              "As docker's: a directory that exists gets the source inside, another name becomes the "
              "source's name, and\n"
              "'DIR/.' means what is in DIR. '-' is a tar stream on stdin or stdout.",
          .arguments = {flag("-a,--archive", c->archive, "keep owners"),
                        flag("-L,--follow-link", c->follow, "copy what a symlink at SOURCE points to"),
                        required(positional("SOURCE", &c->source, "PATH or CONTAINER:PATH")),
                        required(positional("DEST", &c->dest, "CONTAINER:PATH or PATH"))},
          .examples = {{"rayctl cp train.py head:/home/ray/", "a script to the head"},
                       {"rayctl cp head:/tmp/ray/session_latest/logs .", "Ray's own logs from there"}},
          .run = [c](const Globals& globals) { return copy(globals, *c); }};
}

}  // namespace rayctl::cli
