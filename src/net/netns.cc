#include "net/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <exception>
#include <thread>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::net {

namespace {

void in_thread(const std::function<void()>& call) {
  std::exception_ptr failure;
  std::thread thread([&] {
    try {
      call();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  thread.join();
  if (failure) std::rethrow_exception(failure);
}

bool is_network_namespace(int fd) {
  return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

void raise_loopback() {
  Fd fd{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "cannot open a socket")};
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  check(ioctl(fd.get(), SIOCSIFFLAGS, &request), "cannot bring up link 'lo'");
}

}  // namespace

std::string Netns::path_of(const std::string& run_dir, const std::string& name) {
  return join(join(run_dir, "netns"), name);
}

bool Netns::is_namespace(const std::string& path) {
  // O_NONBLOCK: something else of that name may be a FIFO
  Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  return fd && is_network_namespace(fd.get());
}

Netns Netns::open(const std::string& path) {
  Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) throw SysError(errno, "cannot open network namespace '{}'", path);
  if (!is_network_namespace(fd.get()))
    throw Error("cannot open network namespace '{}': it is something else", path);
  return Netns(std::move(fd), path);
}

Netns Netns::current() {
  Netns netns = open("/proc/thread-self/ns/net");
  netns.path_ = "/proc/self/fd/" + std::to_string(netns.fd());
  return netns;
}

namespace {

// A mount keeps the namespace that `source` is.
void keep(const std::string& source, const std::string& path) {
  if (mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0) return;
  int code = errno;
  unlink(path.c_str());
  throw SysError(code, "cannot keep network namespace '{}'", path);
}

// Its name, for the mount to stand on.
void make_name(const std::string& run_dir, const std::string& path) {
  make_directories(join(run_dir, "netns"));
  open_file(path, O_RDONLY | O_CREAT, 0444);
}

}  // namespace

Netns Netns::create(const std::string& run_dir, const std::string& name) {
  std::string path = path_of(run_dir, name);
  if (is_namespace(path)) return open(path);
  make_name(run_dir, path);
  // The thread ends with the namespace as its own; the mount keeps it.
  in_thread([&] {
    check(unshare(CLONE_NEWNET), "cannot make network namespace '{}'", name);
    raise_loopback();
    keep("/proc/thread-self/ns/net", path);
  });
  return open(path);
}

Netns Netns::restore(const std::string& run_dir, const std::string& name, const std::string& source) {
  std::string path = path_of(run_dir, name);
  if (is_namespace(path)) return open(path);
  open(source);  // is one
  make_name(run_dir, path);
  keep(source, path);
  return open(path);
}

void Netns::remove(const std::string& run_dir, const std::string& name) {
  std::string path = path_of(run_dir, name);
  while (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {  // as often as it was mounted
  }
  if (errno != EINVAL && errno != ENOENT) throw SysError(errno, "cannot unmount '{}'", path);
  if (unlink(path.c_str()) < 0 && errno != ENOENT) throw SysError(errno, "cannot remove '{}'", path);
}

void Netns::run(const std::function<void()>& call) const {
  in_thread([&] {
    check(setns(fd_.get(), CLONE_NEWNET), "cannot enter network namespace '{}'", path_);
    call();
  });
}

bool Netns::same(const Netns& other) const {
  struct stat a, b;
  return fstat(fd_.get(), &a) == 0 && fstat(other.fd_.get(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace rayctl::net
