#include "cloud/local_handout.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/io.h"
#include "base/log.h"
#include "cloud/binary_http.h"

namespace rayctl::cloud {

namespace {

std::string read_request() {
  std::string request;
  char bytes[1024];
  while (!binary_request_complete(request)) {
    ssize_t n = check(read(STDIN_FILENO, bytes, sizeof bytes), "cannot read the request");
    if (n == 0) throw Error("cannot read the request: it has no end");
    request.append(bytes, static_cast<size_t>(n));
    if (request.size() > longest_binary_request) throw Error("cannot read the request: it is too long");
  }
  return request;
}

void hand_out() {
  Fd own = open_file("/proc/self/exe", O_RDONLY);
  struct stat info;
  check(fstat(own.get(), &info), "cannot stat this binary");
  BinaryAnswer answer = answer_binary_request(read_request(), static_cast<uint64_t>(info.st_size));
  write_fd(STDOUT_FILENO, answer.head, "the answer");
  if (answer.body) copy(read_from(own.get(), "this binary"), write_to(STDOUT_FILENO, "the answer"));
}

}  // namespace

int hand_out_main(int, char**) {
  try {
    hand_out();
    return 0;
  } catch (const std::exception& e) {
    log_failure(e.what());
    return 1;
  }
}

}  // namespace rayctl::cloud
