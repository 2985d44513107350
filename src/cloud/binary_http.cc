#include "cloud/binary_http.h"

#include <fmt/format.h>

namespace rayctl::cloud {

bool binary_request_complete(std::string_view request) {
  return request.find("\r\n\r\n") != std::string_view::npos || request.find("\n\n") != std::string_view::npos;
}

BinaryAnswer answer_binary_request(std::string_view request, uint64_t size) {
  bool get = request.starts_with("GET /rayctl "), head = request.starts_with("HEAD /rayctl ");
  if (!get && !head) return {"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"};
  return {fmt::format("HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n"
                      "Connection: close\r\n\r\n",
                      size),
          get};
}

}  // namespace rayctl::cloud
