// The process that stays with one container: makes it, holds its output or terminal, writes its log, records
// how it ended. Single-threaded and small; outlives whoever started it.
#pragma once

namespace rayctl::run {

// `rayctl shim DIR`, started by ContainerDir::launch alone, from a sealed copy of the binary. DIR holds
// spec.json and options.json; the outcome of the start goes to descriptor 3: "ok", or the error.
//
// While it runs, DIR/lock is locked and DIR/shim.sock takes requests (shim_wire.h) of its own user and root.
// When the container ends, exit.json is written before the process ends. SIGTERM to the shim stops the
// container. When the shim is killed, the container is lost: nobody would take its output. ContainerDir finds
// that out, kills and records it.
int shim_main(int argc, char** argv);

}  // namespace rayctl::run
