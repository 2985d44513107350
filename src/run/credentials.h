// What a process is allowed: limits, priorities, users, capabilities, system calls. Applied by a process to
// itself, as root of its user namespace, with raw system calls (glibc's would act on every thread it believes
// in).
#pragma once

#include <functional>
#include <string>

#include "base/fd.h"
#include "run/seccomp.h"
#include "run/spec.h"

namespace rayctl::run {

enum class Strictness { degrade, strict };  // degrade: what can't be granted is clamped, with a warning
using Warn = std::function<void(const std::string&)>;

void apply_rlimits(const std::vector<Rlimit>& limits, Strictness strictness, const Warn& warn);

// `proc` is the host's /proc, which a container can't have replaced.
void apply_oom_score(int proc, int score, Strictness strictness, const Warn& warn);
Fd open_apparmor(int proc, const std::string& profile);           // an error when the machine has no AppArmor
void change_apparmor(int attribute, const std::string& profile);  // at the next execve

void apply_scheduling(const ProcessSpec& process);

// The listener's descriptor, when the filter has one. The filter isn't empty.
int load_filter(const SeccompFilter& filter);

// Groups, user, capabilities, no_new_privs and the filter, in the order in which each can still be done:
// `load` is called once, when it is the filter's turn. After it only execve should follow.
void apply_credentials(const ProcessSpec& process, Strictness strictness, const Warn& warn,
                       const std::function<void()>& load);

int rlimit_resource(const std::string& type);  // "RLIMIT_NOFILE"; an error when unknown

}  // namespace rayctl::run
