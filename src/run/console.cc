#include "run/console.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

Terminal open_terminal(int root, const std::optional<ConsoleSize>& size) {
  Terminal terminal;
  terminal.master = open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW);
  if (!terminal.master)
    throw SysError(errno, "cannot open '/dev/pts/ptmx': a terminal needs a devpts mount on /dev/pts");
  // An image's own file of that name, or a link to a pty of the host, is no pty multiplexer of a devpts.
  struct statfs fs;
  check(fstatfs(terminal.master.get(), &fs), "cannot stat '/dev/pts/ptmx'");
  if (fs.f_type != DEVPTS_SUPER_MAGIC)
    throw Error("cannot open '/dev/pts/ptmx': it is not on a devpts file system");
  int unlock = 0;
  check(ioctl(terminal.master.get(), TIOCSPTLCK, &unlock), "cannot unlock the terminal");
  terminal.slave.reset(check(ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC),
                             "cannot open the terminal"));
  if (size && (size->height || size->width)) {
    winsize wanted{};
    wanted.ws_row = size->height;
    wanted.ws_col = size->width;
    check(ioctl(terminal.master.get(), TIOCSWINSZ, &wanted), "cannot set the size of the terminal");
  }
  return terminal;
}

void use_terminal(int slave) {
  check(ioctl(slave, TIOCSCTTY, 0), "cannot take the terminal");
  for (int fd = 0; fd < 3; ++fd) check(dup2(slave, fd), "cannot use the terminal");
}

}  // namespace rayctl::run
