#include "fleet/delivery.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/child.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

namespace rayctl::fleet {

namespace {

constexpr size_t max_request = 8192;
constexpr int client_patience = 30000;  // ms without progress

// Waits until `fd` is ready or `stop` is readable; false: stop, or nothing for too long.
bool ready(int fd, short events, int stop, int timeout) {
  pollfd fds[2] = {{fd, events, 0}, {stop, POLLIN, 0}};
  int n = poll(fds, 2, timeout);
  return n > 0 && fds[1].revents == 0 && fds[0].revents != 0;
}

bool send_all(int socket, std::string_view text, int stop) {
  while (!text.empty()) {
    ssize_t sent = send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN || !ready(socket, POLLOUT, stop, client_patience)) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct FileServer::State {
  std::string file;
  Fd listener, stop;
  uint16_t port = 0;
  std::thread thread;

  void run() {
    while (ready(listener.get(), POLLIN, stop.get(), -1)) {
      Fd client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!client) continue;
      try {
        serve(client.get());
      } catch (const std::exception& e) {
        debug("serving '{}': {}", file, e.what());
      }
    }
  }

  void serve(int client) const {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos && request.size() < max_request) {
      char buffer[1024];
      ssize_t got = recv(client, buffer, sizeof buffer, 0);
      if (got == 0) return;
      if (got > 0)
        request.append(buffer, static_cast<size_t>(got));
      else if (errno != EAGAIN || !ready(client, POLLIN, stop.get(), client_patience))
        return;
    }
    if (!request.starts_with("GET /rayctl ")) {
      send_all(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
               stop.get());
      return;
    }
    Fd source = open_file(file, O_RDONLY);
    struct stat info {};
    check(fstat(source.get(), &info), "cannot read '{}'", file);
    if (!send_all(
            client,
            fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n"
                        "Connection: close\r\n\r\n",
                        info.st_size),
            stop.get()))
      return;
    off_t offset = 0;
    while (offset < info.st_size) {
      ssize_t sent = sendfile(client, source.get(), &offset, static_cast<size_t>(info.st_size - offset));
      if (sent == 0) return;
      if (sent < 0 && (errno != EAGAIN || !ready(client, POLLOUT, stop.get(), client_patience))) return;
    }
    shutdown(client, SHUT_WR);
    char rest = 0;
    while (ready(client, POLLIN, stop.get(), client_patience) && recv(client, &rest, 1, 0) > 0) {
    }
  }
};

FileServer::FileServer(const std::string& file) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.file = file;
  s.stop = Fd(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "cannot make an event"));
  s.listener =
      Fd(check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "cannot make a socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  check(bind(s.listener.get(), raw, sizeof address), "cannot listen on the loopback address");
  check(listen(s.listener.get(), 16), "cannot listen on the loopback address");
  socklen_t size = sizeof address;
  check(getsockname(s.listener.get(), raw, &size), "cannot tell the port");
  s.port = ntohs(address.sin_port);
  s.thread = std::thread([state = state_.get()] { state->run(); });
}

FileServer::~FileServer() {
  eventfd_write(state_->stop.get(), 1);
  state_->thread.join();
}

uint16_t FileServer::port() const {
  return state_->port;
}

std::vector<std::string> delivery_argv(const Home& home, const std::string& address, const std::string& login,
                                       uint16_t local_port) {
  return {"ssh",
          "-N",
          "-T",
          "-R",
          fmt::format("127.0.0.1:{}:127.0.0.1:{}", delivery_port, local_port),
          "-i",
          home.ssh_key(),
          "-o",
          "IdentitiesOnly=yes",
          "-o",
          "BatchMode=yes",
          "-o",
          "ExitOnForwardFailure=yes",
          "-o",
          "ConnectTimeout=10",
          "-o",
          "ServerAliveInterval=10",
          "-o",
          "StrictHostKeyChecking=accept-new",
          "-o",
          "UserKnownHostsFile=" + home.known_hosts() + ".delivery",
          "-l",
          login,
          "--",
          address};
}

struct Delivery::State {
  State(const Home& home, const std::string& file) : home(home), server(file) {}
  const Home home;
  FileServer server;
  std::vector<std::string> logins;
  std::string address;
  mutable std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  std::string trouble;
  std::thread thread;

  bool stopped() {
    std::lock_guard lock(mutex);
    return stopping;
  }

  void run() {
    for (size_t turn = 0; !stopped(); ++turn) {
      std::string words;
      try {
        words = tunnel(logins[turn % logins.size()]);
      } catch (const std::exception& e) {
        words = e.what();
      }
      std::unique_lock lock(mutex);
      if (!words.empty()) trouble = words;
      wake.wait_for(lock, std::chrono::seconds(3), [&] { return stopping; });
    }
  }

  // Until it breaks or we stop; returns ssh's last line.
  std::string tunnel(const std::string& login) {
    // An address that another machine had before must not stop us: the file is for this delivery.
    remove_tree(home.known_hosts() + ".delivery");
    Pipe pipe = make_pipe();
    Child child = Child::spawn({.argv = delivery_argv(home, address, login, server.port()),
                                .in = -1,
                                .out = -1,
                                .err = pipe.write.get()});
    pipe.write.reset();
    while (!child.wait_for(std::chrono::milliseconds(200))) {
      if (!stopped()) continue;
      child.stop(std::chrono::milliseconds(500));
      return "";
    }
    std::string text = read_fd(pipe.read.get(), "ssh", 1 << 16), last;
    for (const std::string& line : split(text, '\n'))
      if (!trim(line).empty()) last = std::string(trim(line));
    return "ssh: " + last;
  }
};

Delivery::Delivery(const Home& home, const std::string& file, const std::string& address,
                   const std::string& logins)
    : state_(std::make_unique<State>(home, file)) {
  state_->address = address;
  state_->logins = split(logins, ',');
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Delivery::~Delivery() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->wake.notify_all();
  }
  state_->thread.join();
}

std::string Delivery::trouble() const {
  std::lock_guard lock(state_->mutex);
  return state_->trouble;
}

}  // namespace rayctl::fleet
