// Network namespaces: made, opened, entered for one call, removed.
#pragma once

#include <functional>
#include <string>

#include "base/fd.h"

namespace rayctl::net {

// A network namespace that a bind mount keeps; the object itself owns only a descriptor.
class Netns {
 public:
  // Makes run_dir/netns/NAME, or opens it when it exists and is a network namespace. A leftover file that is
  // none (after a reboot) is replaced. `lo` is up.
  static Netns create(const std::string& run_dir, const std::string& name);
  // Gives the namespace at `source` (/proc/PID/ns/net) the path of NAME when nothing is mounted there: a
  // supervisor that came back in another mount namespace finds its container's again.
  static Netns restore(const std::string& run_dir, const std::string& name, const std::string& source);
  static Netns open(const std::string& path);  // also /proc/PID/ns/net
  static Netns current();                      // the calling thread's

  // Unmounts and unlinks run_dir/netns/NAME; processes inside keep it alive. Absent is fine.
  static void remove(const std::string& run_dir, const std::string& name);
  static std::string path_of(const std::string& run_dir, const std::string& name);
  static bool is_namespace(const std::string& path);  // exists and is a network namespace

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }

  // Runs `call` inside the namespace, in a thread that ends with it; what it throws is thrown here.
  // Sockets opened inside belong to the namespace for good.
  void run(const std::function<void()>& call) const;

  // The same inode as the other: one namespace under two paths.
  bool same(const Netns& other) const;

 private:
  Netns(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;
};

}  // namespace rayctl::net
