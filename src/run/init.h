// PID 1 of every container: starts one child, passes signals on, reaps everything.
#pragma once

namespace rayctl::run {

// `rayctl init [-g] [--] PROGRAM [ARG…]`. PROGRAM is searched in PATH. Every signal but SIGCHLD and those of
// faults is passed to the child (-g: to the child's process group); the exit code is the child's, 128+n when
// signal n ended it, 127 when PROGRAM isn't found and 126 when it can't be executed. On a terminal the child
// leads the foreground process group.
int init_main(int argc, char** argv);

}  // namespace rayctl::run
