#include "cli/early.h"

#include <cstring>
#include <vector>

#include "cloud/local_handout.h"
#include "net/dns_process.h"
#include "ray/copy.h"
#include "ray/entry.h"
#include "ray/pods.h"
#include "run/init.h"
#include "run/launcher.h"
#include "run/oci_commands.h"
#include "run/shim.h"
#include "wg/tunnel_process.h"

namespace rayctl::cli {

namespace {

struct Early {
  const char* word;  // argv[1]; also argv[0]'s last part when `program` is set
  const char* program;
  int (*run)(int argc, char** argv);  // argv[0] is the word
};

// One line per process.
const std::vector<Early> early = {
    {"copy-receive", nullptr, ray::copy_main},
    {"copy-send", nullptr, ray::copy_main},
    {"dns", nullptr, net::dns_main},
    {"entry", "run", ray::run_entry},
    {"hand-out", nullptr, cloud::hand_out_main},
    {"init", nullptr, run::init_main},
    {"launch", nullptr, run::launcher_main},
    {"oci", "oci-rayctl", run::oci::main},
    {"pods", nullptr, ray::pods_main},
    {"shim", nullptr, run::shim_main},
    {"tunnel", nullptr, wg::tunnel_main},
};

}  // namespace

int run_early(int argc, char** argv) {
  if (argc < 1) return -1;
  const char* slash = std::strrchr(argv[0], '/');
  const char* program = slash ? slash + 1 : argv[0];
  for (const Early& e : early) {
    if (e.program && std::strcmp(program, e.program) == 0) return e.run(argc, argv);
    if (argc > 1 && std::strcmp(argv[1], e.word) == 0) return e.run(argc - 1, argv + 1);
  }
  return -1;
}

}  // namespace rayctl::cli
