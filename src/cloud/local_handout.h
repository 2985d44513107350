// How a machine of the provider Local gets rayctl.
#pragma once

namespace rayctl::cloud {

// Early dispatch: `rayctl hand-out`, which QEMU starts for each connection to local_binary_url: reads one
// HTTP request from stdin, answers `GET /rayctl` with this very binary on stdout.
int hand_out_main(int argc, char** argv);

}  // namespace rayctl::cloud
