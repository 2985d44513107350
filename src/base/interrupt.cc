#include "base/interrupt.h"

#include <atomic>
#include <csignal>

#include "base/error.h"
#include "base/fd.h"

namespace rayctl {

namespace {

std::atomic<int> count{0};
Pipe* wake = nullptr;  // never freed: the handler may run until the process ends

void on_signal(int number) {
  int before = count.fetch_add(1);
  if (before >= 2) {  // the clean-up hangs: let the signal do what it does
    signal(number, SIG_DFL);
    raise(number);
  }
  char byte = 0;
  [[maybe_unused]] ssize_t n = write(wake->write.get(), &byte, 1);
}

}  // namespace

void catch_interrupts() {
  if (wake) return;
  wake = new Pipe(make_pipe());
  struct sigaction action {};
  action.sa_handler =
      on_signal;  // no SA_RESTART: a blocking call returns EINTR and its caller looks at the flag
  sigemptyset(&action.sa_mask);
  check(sigaction(SIGINT, &action, nullptr), "cannot handle SIGINT");
  check(sigaction(SIGTERM, &action, nullptr), "cannot handle SIGTERM");
}

bool interrupted() {
  return count.load() > 0;
}

void throw_if_interrupted() {
  if (interrupted()) throw Interrupted();
}

int interrupt_fd() {
  return wake ? wake->read.get() : -1;
}

}  // namespace rayctl
