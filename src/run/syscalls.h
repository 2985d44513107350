// System calls that glibc 2.36 has no wrapper for, or only one that is wrong in a fresh child (it would set
// the credentials of all threads, or use what it caches). They return -1 and errno as their man pages say.
#pragma once

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>

namespace rayctl::run::sys {

inline int open_tree(int directory, const char* path, unsigned flags) {
  return static_cast<int>(syscall(SYS_open_tree, directory, path, flags | OPEN_TREE_CLOEXEC));
}

// Moves the mount of `from` (an fd of a mount's root) onto what `to` is open on.
inline int move_mount_onto(int from, int to) {
  return static_cast<int>(
      syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

inline int mount_setattr(int fd, unsigned flags, mount_attr& attributes) {
  return static_cast<int>(
      syscall(SYS_mount_setattr, fd, "", flags | AT_EMPTY_PATH, &attributes, sizeof attributes));
}

inline int fsopen(const char* type) {
  return static_cast<int>(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

inline int fsconfig(int fs, unsigned command, const char* key, const char* value) {
  return static_cast<int>(syscall(SYS_fsconfig, fs, command, key, value, 0));
}

inline int fsmount(int fs, unsigned attributes) {
  return static_cast<int>(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes));
}

inline int openat2(int directory, const char* path, open_how& how) {
  return static_cast<int>(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

inline int pivot_root(const char* root, const char* old) {
  return static_cast<int>(syscall(SYS_pivot_root, root, old));
}

inline int pidfd_open(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

inline int pidfd_getfd(int pidfd, int fd) {
  return static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

inline int pidfd_send_signal(int pidfd, int signal) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

inline int close_range(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(syscall(SYS_close_range, first, last, flags));
}

// Without a stack of its own, so that it returns twice as fork does.
inline pid_t clone3(clone_args& args) {
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

}  // namespace rayctl::run::sys
