#include "cluster/control_binary.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cloud/binary_http.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr size_t most = 256;
constexpr std::chrono::minutes deadline{10};
constexpr size_t turn = 256 << 10;  // bytes, before others have their turn
size_t living = 0;                  // all are of one loop's thread

class HandOut : public std::enable_shared_from_this<HandOut> {
 public:
  HandOut(asio::io_context& io, Fd socket) : socket_(io, socket.release()), timer_(io, deadline) { ++living; }
  ~HandOut() { --living; }

  void start() {
    timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      if (auto self = weak.lock(); self && !error) self->socket_.close();
    });
    wait(asio::posix::stream_descriptor::wait_read);
  }

 private:
  void wait(asio::posix::stream_descriptor::wait_type what) {
    socket_.async_wait(what, [self = shared_from_this()](const boost::system::error_code& error) {
      if (error) return;
      try {
        self->go_on();
      } catch (const Error& e) {  // the boundary of one connection
        debug("handing out the binary: {}", e.message());
      }
    });
  }

  void go_on() {
    if (!answered_ && !read_request()) return;
    if (!send_head() || !send_body()) return wait(asio::posix::stream_descriptor::wait_write);
    shutdown(socket_.native_handle(), SHUT_WR);
  }

  bool read_request() {
    std::array<char, 2048> bytes;
    ssize_t n = recv(socket_.native_handle(), bytes.data(), bytes.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      wait(asio::posix::stream_descriptor::wait_read);
      return false;
    }
    check(n, "cannot read the request");
    request_.append(bytes.data(), static_cast<size_t>(n));
    if (n == 0 || request_.size() > cloud::longest_binary_request) return false;
    if (!cloud::binary_request_complete(request_)) {
      wait(asio::posix::stream_descriptor::wait_read);
      return false;
    }
    binary_ = open_file("/proc/self/exe", O_RDONLY);
    struct stat info;
    check(fstat(binary_.get(), &info), "cannot stat this binary");
    cloud::BinaryAnswer answer = cloud::answer_binary_request(request_, static_cast<uint64_t>(info.st_size));
    head_ = answer.head;
    end_ = answer.body ? info.st_size : 0;
    return answered_ = true;
  }

  bool send_head() {
    while (!head_.empty()) {
      ssize_t n = send(socket_.native_handle(), head_.data(), head_.size(), MSG_NOSIGNAL);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
      head_.erase(0, static_cast<size_t>(check(n, "cannot send the answer")));
    }
    return true;
  }

  bool send_body() {
    for (off_t stop = std::min<off_t>(end_, at_ + static_cast<off_t>(turn)); at_ < stop;) {
      ssize_t n = sendfile(socket_.native_handle(), binary_.get(), &at_, static_cast<size_t>(stop - at_));
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
      if (check(n, "cannot send the binary") == 0) throw Error("cannot send the binary: it became shorter");
    }
    return at_ >= end_;
  }

  asio::posix::stream_descriptor socket_;
  asio::steady_timer timer_;
  std::string request_, head_;
  bool answered_ = false;
  Fd binary_;
  off_t at_ = 0, end_ = 0;
};

}  // namespace

void hand_out_binary(asio::io_context& io, Fd socket) {
  if (living >= most) return;
  std::make_shared<HandOut>(io, std::move(socket))->start();
}

}  // namespace rayctl::cluster
