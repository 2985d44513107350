#include "run/seccomp_listener.h"

#include <poll.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "run/sync.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

constexpr auto longest_wait = std::chrono::seconds(30);
constexpr int none = -1;

}  // namespace

// What both sides see; a fresh memory file is all zeroes.
struct ListenerOffer::Shared {
  std::atomic<int> offered;  // the descriptor's number + 1
  std::atomic<int> taken;
  static_assert(std::atomic<int>::is_always_lock_free);

  static Shared* map(int memory) {
    void* at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (at == MAP_FAILED) throw SysError(errno, "cannot share memory");
    return static_cast<Shared*>(at);
  }
};

ListenerOffer::ListenerOffer(int socket) {
  Fd memory{check(memfd_create("listener", MFD_CLOEXEC), "cannot make a memory file")};
  check(ftruncate(memory.get(), sizeof(Shared)), "cannot make a memory file");
  shared_ = Shared::map(memory.get());
  send_message(socket, Sync::listener, {}, memory.get());
}

ListenerOffer::~ListenerOffer() {
  munmap(shared_, sizeof(Shared));
}

void ListenerOffer::wait_until_taken(int fd) noexcept {
  shared_->offered = fd + 1;
  // Not a system call either: the clock is the vdso's.
  auto end = std::chrono::steady_clock::now() + longest_wait;
  while (!shared_->taken)
    if (std::chrono::steady_clock::now() > end) __builtin_trap();
}

class ListenerTaker {
 public:
  explicit ListenerTaker(int memory) : shared_(ListenerOffer::Shared::map(memory)) {}
  ListenerTaker(const ListenerTaker&) = delete;
  ~ListenerTaker() { munmap(shared_, sizeof *shared_); }

  Fd take(int pidfd) {
    int number = none;
    while (number == none) {
      // Asked in this order: who has ended can't offer any more.
      pollfd process{pidfd, POLLIN, 0};
      bool ended = poll(&process, 1, 1) > 0;
      number = shared_->offered - 1;
      if (ended && number == none) throw Error("cannot load the seccomp filter: its process ended");
    }
    return Fd{
        check(sys::pidfd_getfd(pidfd, number), "cannot take the seccomp listener (Linux 5.6 or later)")};
  }
  void confirm() { shared_->taken = 1; }

 private:
  ListenerOffer::Shared* shared_;
};

void pass_listener(const Fd& memory, const Fd& pidfd, pid_t pid, const SeccompProfile& profile,
                   const std::string& state) {
  ListenerTaker taker(memory.get());
  Fd listener = taker.take(pidfd.get());
  nlohmann::json text{
      {"ociVersion", "1.2.0"}, {"fds", {"seccompFd"}}, {"pid", pid}, {"state", nlohmann::json::parse(state)}};
  if (!profile.listener_metadata.empty()) text["metadata"] = profile.listener_metadata;
  try {
    send_descriptor(profile.listener_path, listener.get(), text.dump());
  } catch (Error& e) {
    e.prefix("handing the seccomp listener to its agent");
    throw;
  }
  taker.confirm();
}

}  // namespace rayctl::run
