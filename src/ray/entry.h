// `run head|worker`: the container's command, as the 2016 image had it. Runs inside the container as the
// image's user.
#pragma once

namespace rayctl::ray {

// argv: "run", "head" or "worker". Waits for names, starts Ray as RAYCTL_RAY_START says, keeps nodes.txt,
// runs JOB once all of WORKERHOST are in, passes SIGTERM and SIGINT on, and returns Ray's exit code (128+n
// for a signal).
int run_entry(int argc, char** argv);

}  // namespace rayctl::ray
