#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/credentials.h"
#include "oci/reference.h"

namespace rayctl::cli {

namespace {

constexpr size_t longest_secret = 64 << 10;

struct Options {
  std::string registry = {}, username = {};
  bool password_stdin = false;
  RegistryFlags flags = {};
};

// Puts the terminal back however the prompt ends.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd) {
    check(tcgetattr(fd, &before_), "cannot read the terminal's mode");
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    check(tcsetattr(fd, TCSAFLUSH, &silent), "cannot switch off the terminal's echo");
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;
  ~EchoOff() { tcsetattr(fd_, TCSAFLUSH, &before_); }

 private:
  int fd_;
  termios before_{};
};

std::string read_line(int fd) {
  std::string line;
  for (char c; line.size() < longest_secret;) {
    ssize_t n = read(fd, &c, 1);
    throw_if_interrupted();
    if (n < 0 && errno == EINTR) continue;
    if (check(n, "cannot read from the terminal") == 0 || c == '\n') break;
    line += c;
  }
  return line;
}

std::string ask(int terminal, std::string_view question) {
  write_fd(terminal, question, "the terminal");
  return read_line(terminal);
}

oci::Credentials read_credentials(const Options& options) {
  oci::Credentials credentials{.username = options.username};
  if (options.password_stdin) {
    if (options.username.empty()) throw UsageError("--password-stdin needs --username too");
    std::string password = read_fd(STDIN_FILENO, "standard input", longest_secret);
    while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) password.pop_back();
    credentials.password = password;
  } else {
    Fd terminal{open("/dev/tty", O_RDWR | O_CLOEXEC)};
    if (!terminal)
      throw UsageError(
          "cannot ask for a password: there is no terminal; add --username NAME --password-stdin");
    if (credentials.username.empty()) credentials.username = ask(terminal.get(), "Username: ");
    EchoOff silent(terminal.get());
    credentials.password = ask(terminal.get(), "Password: ");
    write_fd(terminal.get(), "\n", "the terminal");
  }
  if (credentials.username.empty() || credentials.password.empty())
    throw Error("cannot log in: user name or password is empty");
  if (credentials.username.find(':') != std::string::npos)
    throw Error("cannot log in: a user name holds no ':'");
  return credentials;
}

int run(const Options& options) {
  catch_interrupts();
  std::string registry = registry_name(options.registry);
  oci::Credentials credentials = read_credentials(options);
  oci::RegistryOptions registry_options = options.flags.options();
  registry_options.credentials = credentials;
  oci::Registry(registry, registry_options).check_login();
  std::string place = oci::store_credentials(registry, credentials, options.flags.auth_file);
  fmt::print("logged in to {} as {}; the login is in {}\n", registry, printable(credentials.username), place);
  return 0;
}

}  // namespace

Command login_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "login",
      .group = Group::images,
      .summary = "Log in to a registry",
      .description =
          "The password is asked for, or read from standard input; it is verified and then kept where "
          "docker keeps it, in a credential helper if the file names one.",
      .arguments =
          std::vector<Argument>{
              positional("REGISTRY", &options->registry, "HOST[:PORT]; Docker Hub without one"),
              option("-u,--username", "NAME", &options->username, "who you are there"),
              flag("--password-stdin", options->password_stdin, "read the password from standard input")} +
          registry_arguments(options->flags),
      .examples = {{"rayctl login registry.local:5000", "asks for name and password"},
                   {"rayctl login -u ci --password-stdin registry.local:5000 < token", "in a script"}},
      .run = [options](const Globals&) { return run(*options); }};
}

}  // namespace rayctl::cli
