// `rayctl oci …`: an OCI runtime for podman, containerd and Docker.
#pragma once

#include <string>
#include <vector>

#include "run/container.h"
#include "run/oci_options.h"
#include "run/oci_state.h"

namespace rayctl::run::oci {

// argv[0] is "oci" or the program's own name ("oci-rayctl").
int main(int argc, char** argv);

using Words = std::vector<std::string>;

int create(const Global& global, const Words& words);
int run(const Global& global, const Words& words);
int start(const Global& global, const Words& words);
int state(const Global& global, const Words& words);
int kill(const Global& global, const Words& words);
int remove(const Global& global, const Words& words);
int exec(const Global& global, const Words& words);
int list(const Global& global, const Words& words);
int processes(const Global& global, const Words& words);
int pause(const Global& global, const Words& words);
int resume(const Global& global, const Words& words);
int update(const Global& global, const Words& words);
int events(const Global& global, const Words& words);
int features(const Global& global, const Words& words);
int spec(const Global& global, const Words& words);

// Kills what is left of a container and forgets it: cgroup, hooks, directory.
void dispose(const StateDirectory& directory, const Record& record);

// Passes our signals on to `process` and, for a terminal, the bytes; returns the exit code (128+n for signal
// n).
int attend(const Process& process);

// Where a terminal goes: to the socket that the caller listens on.
void hand_over_terminal(const Process& process, const std::string& console_socket);

// Our stdio and the descriptors after it, as --preserve-fds and systemd's LISTEN_FDS count them.
int preserved_fds(const Arguments& arguments);

std::string now_rfc3339();

// Where compiled filters are kept.
std::string seccomp_cache();

// To --log when there is one: our stderr is the container's.
std::function<void(const std::string&)> warning_log(const Global& global);

}  // namespace rayctl::run::oci
