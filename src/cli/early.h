// Commands that must start in well under a millisecond or run inside containers: they see neither CLI11 nor
// OpenSSL.
#pragma once

namespace rayctl::cli {

// Runs the early command that argv[0] or argv[1] names and returns its exit code; -1 when it names none.
int run_early(int argc, char** argv);

}  // namespace rayctl::cli
