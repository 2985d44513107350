// Parse, run, one catch: exit codes 0, 1 failure, 2 usage, 130 interrupted.
#include "base/error.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/early.h"

using namespace rayctl;

int main(int argc, char** argv) {
  if (int code = cli::run_early(argc, argv); code >= 0) return code;
  try {
    return cli::dispatch(argc, argv, cli::all_commands());
  } catch (const UsageError& e) {
    log_failure(e.message());
    return static_cast<int>(ExitCode::usage);
  } catch (const Interrupted& e) {
    log_failure(e.message());
    return static_cast<int>(ExitCode::interrupted);
  } catch (const std::exception& e) {
    log_failure(e.what());
    return static_cast<int>(ExitCode::failure);
  }
}
