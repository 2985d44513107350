#include "fleet/head_images.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cluster/control_connection.h"
#include "oci/push.h"
#include "oci/reference.h"

namespace rayctl::fleet {

namespace {

constexpr size_t at_a_time = 4;  // blobs; as many as the head takes

nlohmann::json wire(const oci::Descriptor& blob) {
  return {{"digest", blob.digest.string()}, {"size", blob.size}, {"media_type", blob.media_type}};
}

// One blob on its way; lives in its channel's callbacks.
class BlobPush : public std::enable_shared_from_this<BlobPush> {
 public:
  using Done = std::function<void(const std::string& error)>;
  BlobPush(const oci::Store& store, oci::Descriptor blob, Transfer* transfer, Done done)
      : blob_(std::move(blob)), file_(store.open(blob_)), transfer_(transfer), done_(std::move(done)) {
    if (!transfer_) activity_.emplace(fmt::format("blob {}", blob_.digest.short_hex()), blob_.size);
  }

  void start(cluster::Connection& connection) {
    auto self = shared_from_this();
    channel_ = connection.request("image.put", wire(blob_), [self](const cluster::Reply& reply) {
      if (reply.ok()) self->finish();
      self->channel_ = nullptr;
      self->done_(reply.ok() ? "" : reply.error);
    });
    channel_->on_event([self](const Json& event) { self->begin(event.at("offset").size()); });
  }

 private:
  void advance(uint64_t amount) {
    counted_ += amount;
    if (activity_) activity_->advance(amount);
    if (transfer_) transfer_->sent += amount;
  }

  void finish() {
    if (activity_) activity_->finish(began_ ? "pushed in" : "is there already");
    if (transfer_ && counted_ < blob_.size) transfer_->sent += blob_.size - counted_;
  }

  void begin(uint64_t offset) {
    if (offset > blob_.size) throw Error("the head has more of {} than there is", blob_.digest.string());
    check(lseek(file_.get(), static_cast<off_t>(offset), SEEK_SET), "cannot seek in blob {}",
          blob_.digest.string());
    began_ = true;
    advance(offset);
    auto self = shared_from_this();
    channel_->on_writable([self] { self->send(); });
    send();
  }

  void send() {
    std::array<char, 64 << 10> buffer;
    while (channel_ && !ended_) {
      size_t room = std::min(channel_->writable(), buffer.size());
      if (room == 0) return;  // on_writable comes
      ssize_t size = read(file_.get(), buffer.data(), room);
      if (size < 0 && errno == EINTR) continue;
      check(size, "cannot read blob {}", blob_.digest.string());
      if (size == 0) {
        ended_ = true;
        return channel_->end();
      }
      channel_->write({buffer.data(), static_cast<size_t>(size)});
      advance(static_cast<uint64_t>(size));
    }
  }

  oci::Descriptor blob_;
  Fd file_;
  Transfer* const transfer_;
  std::optional<Activity> activity_ = {};
  uint64_t counted_ = 0;
  Done done_;
  cluster::ChannelPtr channel_ = {};
  bool began_ = false, ended_ = false;
};

void push_blobs(cluster::OperatorClient& head, const oci::Store& store, std::deque<oci::Descriptor> blobs,
                Transfer* transfer) {
  struct Progress {
    std::deque<oci::Descriptor> left;
    size_t running = 0;
    std::string error = {};
  };
  auto progress = std::make_shared<Progress>(Progress{std::move(blobs)});
  auto next = std::make_shared<std::function<void()>>();
  std::weak_ptr<std::function<void()>> weak_next = next;
  cluster::Connection& connection = *head.connection();
  *next = [progress, weak_next, &connection, &store, transfer] {
    while (progress->error.empty() && progress->running < at_a_time && !progress->left.empty()) {
      oci::Descriptor blob = std::move(progress->left.front());
      progress->left.pop_front();
      ++progress->running;
      auto ended = [progress, weak_next](const std::string& error) {
        --progress->running;
        if (progress->error.empty()) progress->error = error;
        if (auto again = weak_next.lock()) (*again)();
      };
      std::make_shared<BlobPush>(store, std::move(blob), transfer, ended)->start(connection);
    }
  };
  boost::asio::io_context& io = head.io();
  io.restart();
  (*next)();
  while (progress->running > 0 && progress->error.empty()) {
    io.run_one_for(std::chrono::milliseconds(100));
    if (io.stopped()) io.restart();
    throw_if_interrupted();
    if (transfer && transfer->cancel) throw Interrupted();
  }
  if (!progress->error.empty()) throw Error("{}", progress->error);
}

}  // namespace

void push_to_head(cluster::OperatorClient& head, const oci::Store& store, const oci::Descriptor& image,
                  const std::string& name, Transfer* transfer) {
  oci::Reference reference = oci::parse_reference(name);
  std::vector<oci::Descriptor> all = oci::parts_of(store, image);
  nlohmann::json asked = nlohmann::json::array();
  for (const oci::Descriptor& part : all) asked.push_back(wire(part));
  Json answer = head.request("image.missing", {{"blobs", std::move(asked)}});
  std::vector<std::string> names = answer.at("missing").strings();
  std::set<std::string> missing(names.begin(), names.end());
  std::deque<oci::Descriptor> blobs;
  for (const oci::Descriptor& part : all)
    if (missing.count(part.digest.string())) blobs.push_back(part);
  // The largest first: they take longest.
  std::stable_sort(blobs.begin(), blobs.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
  if (transfer)
    for (const oci::Descriptor& blob : blobs) transfer->total += blob.size;
  push_blobs(head, store, std::move(blobs), transfer);
  nlohmann::json tag = wire(image);
  tag["name"] = oci::to_string(reference);
  head.request("image.tag", tag, std::chrono::minutes(2));
}

void give_registry_login(cluster::OperatorClient& head, const std::string& registry,
                         const oci::Credentials& credentials, const std::string& ca) {
  head.request("registry.set", {{"host", registry},
                                {"username", credentials.username},
                                {"password", credentials.password},
                                {"identity_token", credentials.identity_token},
                                {"ca", ca}});
}

}  // namespace rayctl::fleet
