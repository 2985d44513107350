// The process behind run_to_end: single-threaded, small, sealed; it makes one container, waits for it and
// cleans up.
#pragma once

namespace rayctl::run {

// `rayctl launch`, started by run_to_end alone: the specification comes by descriptor 3, the report goes by
// 4, and 5, 6, 7 become the container's stdio. When the other end of 4 closes, the container is killed.
int launcher_main(int argc, char** argv);

}  // namespace rayctl::run
