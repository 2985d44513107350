// One error type, one way to check a system call.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <exception>
#include <string>
#include <utility>

namespace rayctl {

// A failure with a message that is ready for the user: `context: cannot <verb> '<object>': <reason>`.
class Error : public std::exception {
 public:
  template <class... A>
  explicit Error(fmt::format_string<A...> format, A&&... args)
      : message_(fmt::format(format, std::forward<A>(args)...)) {}

  // Puts "context: " in front of the message; the caller that knows the context adds it and rethrows with
  // `throw;`
  // (`throw e;` would slice a SysError).
  template <class... A>
  void prefix(fmt::format_string<A...> format, A&&... args) {
    message_ = fmt::format(format, std::forward<A>(args)...) + ": " + message_;
  }

  // Adds " (hint)": what the user can do about it.
  template <class... A>
  void hint(fmt::format_string<A...> format, A&&... args) {
    message_ += " (" + fmt::format(format, std::forward<A>(args)...) + ")";
  }

  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

// A failed system call; keeps errno for the few callers that branch on it.
class SysError : public Error {
 public:
  template <class... A>
  SysError(int code, fmt::format_string<A...> format, A&&... args)
      : Error("{}: {}", fmt::format(format, std::forward<A>(args)...), describe(code)), code_(code) {}

  int code() const { return code_; }
  static std::string describe(int code);

 private:
  int code_;
};

// The command line or a configuration is wrong: exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// SIGINT or SIGTERM ended the command: exit code 130.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

enum class ExitCode { success = 0, failure = 1, usage = 2, interrupted = 130 };

// Returns `rc` when it isn't negative, else throws SysError of errno with the formatted text:
// `Fd fd{check(open(p, O_RDONLY | O_CLOEXEC), "cannot open '{}'", p)}`.
// The arguments must not make system calls: errno is read after they were evaluated.
template <class R, class... A>
R check(R rc, fmt::format_string<A...> format, A&&... args) {
  if (rc < 0) {
    int code = errno;
    throw SysError(code, format, std::forward<A>(args)...);
  }
  return rc;
}

}  // namespace rayctl
