// The child's side of a start: everything between clone and execve.
#pragma once

#include <string>
#include <vector>

#include "run/cgroup_mounts.h"
#include "run/container.h"
#include "run/plan.h"
#include "run/rootfs.h"
#include "run/seccomp.h"
#include "run/spec.h"

namespace rayctl::run {

// What both kinds of children need. They read it and never return.
struct Launch {
  const Spec& spec;
  const ProcessSpec& process;
  const SeccompFilter& filter;
  Stdio stdio;
  int preserve_fds;
  CgroupEntry cgroup;
  int socket;  // to the parent (sync.h)
  int gate = -1;
  Keyring keyring = Keyring::fresh;
  int root = -1;  // of the container to join, when its mount namespace has another
};

// PID 1 of a new container.
[[noreturn]] void run_first_process(const Launch& launch, const Plan& plan, const std::string& bundle,
                                    RootSwitch how, BindSources sources);

// A process that joins the container whose PID 1 `target` is (a pidfd). The pid namespace is the parent's to
// join.
[[noreturn]] void run_joining_process(const Launch& launch, int target);

// Where execvp would find `name`: with a '/' itself, else in the PATH of `env`. The message of a missing
// program is the one that engines look for ("executable file not found in $PATH").
std::string find_program(const std::string& name, const std::vector<std::string>& env);

}  // namespace rayctl::run
