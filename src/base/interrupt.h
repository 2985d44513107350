// SIGINT and SIGTERM as a flag and an fd, for commands that clean up before they end with exit code 130.
#pragma once

namespace rayctl {

// From here on the two signals only set the flag; a third one ends the process the hard way. Called once,
// early in a command, before threads start.
void catch_interrupts();
bool interrupted();
void throw_if_interrupted();  // throws Interrupted
int interrupt_fd();           // readable once a signal came; for poll(2)

}  // namespace rayctl
