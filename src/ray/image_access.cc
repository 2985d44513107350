#include "ray/image_access.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "ray/image_wire.h"
#include "ray/registries.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

using namespace std::chrono_literals;
constexpr auto look_around = 200ms;  // for stop() while waiting
constexpr int tries = 6;             // without a byte of progress
constexpr auto try_again = 1s;

// A request of the loop's, seen from another thread.
struct Flow {
  std::mutex mutex = {};
  std::condition_variable changed = {};
  std::deque<std::string> pieces = {};
  std::optional<cluster::Reply> reply = {};
  cluster::ChannelPtr channel = {};  // for the loop's thread alone
};

class WorkerAccess : public ImageAccess, public std::enable_shared_from_this<WorkerAccess> {
 public:
  WorkerAccess(asio::io_context& io, std::function<NodeControl&()> control)
      : io_(io), control_(std::move(control)) {}

  void stop() override { stopping_ = true; }
  std::unique_ptr<oci::ImageSource> head_images() override;

  RegistryAccess registry(const std::string& host) override {
    try {
      return parse_registry_access(ask("registry.get", {{"host", host}}));
    } catch (const Error& e) {  // without the head a node pulls what it can
      debug("the head's login for '{}' is not known: {}", host, e.message());
      return {};
    }
  }

  Json ask(const char* name, const nlohmann::json& body) {
    auto flow = begin(name, body, {});
    std::unique_lock lock(flow->mutex);
    while (!flow->reply) wait(*flow, lock);
    return flow->reply->value();
  }

  // Gives each piece to `take`; returns the error that ended it, empty at its end. What `take` throws goes
  // on.
  std::string stream(const nlohmann::json& body, const Sink& take) {
    auto flow = begin("image.blob", body, [](cluster::Channel& channel) {
      channel.widen(cluster::max_window);
      channel.end();
    });
    std::unique_lock lock(flow->mutex);
    while (true) {
      while (flow->pieces.empty() && !flow->reply) wait(*flow, lock);
      if (flow->pieces.empty()) return flow->reply->ok() ? "" : flow->reply->error;
      std::string piece = std::move(flow->pieces.front());
      flow->pieces.pop_front();
      lock.unlock();
      try {
        take(as_bytes(piece));
      } catch (...) {
        asio::post(io_, [flow] {
          if (flow->channel) flow->channel->cancel("the receiver gave up");
        });
        throw;
      }
      asio::post(io_, [flow, size = piece.size()] {
        if (flow->channel) flow->channel->consumed(size);
      });
      lock.lock();
    }
  }

  void pause() {
    for (auto end = std::chrono::steady_clock::now() + try_again; std::chrono::steady_clock::now() < end;) {
      if (stopping_) throw Error("this node's supervisor stops");
      std::this_thread::sleep_for(look_around);
    }
  }

 private:
  std::shared_ptr<Flow> begin(const char* name, nlohmann::json body,
                              std::function<void(cluster::Channel&)> then) {
    auto flow = std::make_shared<Flow>();
    asio::post(io_, [self = shared_from_this(), flow, name, body = std::move(body), then = std::move(then)] {
      if (self->stopping_) return;
      flow->channel = self->control_().ask_head(name, body, [flow](const cluster::Reply& reply) {
        std::lock_guard lock(flow->mutex);
        flow->reply = reply;
        flow->changed.notify_all();
      });
      if (!flow->channel || !then) return;
      flow->channel->on_data([flow](std::string_view bytes, cluster::Lane) {
        std::lock_guard lock(flow->mutex);
        flow->pieces.emplace_back(bytes);
        flow->changed.notify_all();
      });
      then(*flow->channel);
    });
    return flow;
  }

  void wait(Flow& flow, std::unique_lock<std::mutex>& lock) {
    if (stopping_) throw Error("this node's supervisor stops");
    flow.changed.wait_for(lock, look_around);
  }

  asio::io_context& io_;
  std::function<NodeControl&()> control_;
  std::atomic<bool> stopping_{false};
};

class HeadSource : public oci::ImageSource {
 public:
  explicit HeadSource(std::shared_ptr<WorkerAccess> access) : access_(std::move(access)) {}

  oci::Registry::Fetched manifest(const std::string& version) override {
    nlohmann::json body;
    body[oci::Digest::is_digest(version) ? "digest" : "name"] = version;
    Json answer = access_->ask("image.manifest", body);
    oci::Registry::Fetched fetched{answer.at("bytes").string(), parse_blob(answer)};
    if (oci::Digest::of(as_bytes(fetched.bytes), fetched.descriptor.digest.algorithm()) !=
            fetched.descriptor.digest ||
        (oci::Digest::is_digest(version) && fetched.descriptor.digest.string() != version))
      throw Error("cannot use the head's manifest of '{}': it has another digest", version);
    return fetched;
  }

  void blob(const oci::Descriptor& blob, uint64_t offset, unsigned /*streams*/, const Sink& take) override {
    for (int failures = 0;;) {
      uint64_t before = offset;
      nlohmann::json body = to_json(blob);
      body["offset"] = offset;
      std::string error = access_->stream(body, [&](Bytes bytes) {
        offset += bytes.size();
        take(bytes);
      });
      if (error.empty()) return;
      failures = offset > before ? 0 : failures + 1;
      if (failures >= tries) throw Error("cannot fetch {} from the head: {}", blob.digest.string(), error);
      debug("fetching {} from the head again: {}", blob.digest.string(), error);
      access_->pause();
    }
  }

 private:
  std::shared_ptr<WorkerAccess> access_;
};

std::unique_ptr<oci::ImageSource> WorkerAccess::head_images() {
  return std::make_unique<HeadSource>(shared_from_this());
}

class HeadAccess : public ImageAccess {
 public:
  explicit HeadAccess(const Paths& paths) : paths_(paths) {}
  void stop() override {}
  std::unique_ptr<oci::ImageSource> head_images() override { return nullptr; }
  RegistryAccess registry(const std::string& host) override {
    return Registries(paths_).find(host).value_or(RegistryAccess{});
  }

 private:
  Paths paths_;
};

}  // namespace

std::shared_ptr<ImageAccess> head_image_access(const Paths& paths) {
  return std::make_shared<HeadAccess>(paths);
}

std::shared_ptr<ImageAccess> worker_image_access(asio::io_context& io,
                                                 std::function<NodeControl&()> control) {
  return std::make_shared<WorkerAccess>(io, std::move(control));
}

}  // namespace rayctl::ray
