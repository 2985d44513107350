#include "ray/image_server.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_connection.h"
#include "cluster/control_pump.h"
#include "oci/reference.h"
#include "oci/store.h"
#include "ray/image_wire.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr size_t receivers = 4, senders = 16;  // transfers at a time
constexpr size_t send_turn = 256 << 10;        // bytes of one blob before others have their turn
constexpr std::chrono::seconds lock_check{10};

// Reads what the loop writes into the pipe, until its end.
void receive(int pipe, const std::atomic<bool>& stopping, const Sink& take) {
  std::array<std::byte, 64 << 10> buffer;
  while (true) {
    pollfd wait{pipe, POLLIN, 0};
    int ready = poll(&wait, 1, 200);
    if (stopping) throw Error("the head's supervisor stops");
    if (ready <= 0) continue;
    ssize_t size = read(pipe, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    check(size, "cannot read a blob's bytes");
    if (size == 0) return;
    take(Bytes(buffer.data(), static_cast<size_t>(size)));
  }
}

}  // namespace

struct ImageServer::Impl : std::enable_shared_from_this<ImageServer::Impl> {
  Impl(asio::io_context& io, const Paths& paths, std::function<void(const std::string&)> on_image)
      : io(io),
        directory(join(paths.state_dir, "store")),
        on_image(std::move(on_image)),
        lock_timer(io),
        pool(receivers) {}

  // --- from operators ---
  void missing(const cluster::Request& request, const cluster::ChannelPtr& channel);
  void put(const Json& body, const cluster::ChannelPtr& channel);
  void take_blob(const oci::Descriptor& blob, Fd pipe, const cluster::ChannelPtr& channel);
  void tag(const cluster::Request& request, const cluster::ChannelPtr& channel);
  void check_locks();
  // --- to workers ---
  void manifest(const Json& body, const cluster::ChannelPtr& channel);
  void blob(const Json& body, const cluster::ChannelPtr& channel);
  void next_sender();

  // Ends with this answer, in the loop; an error fails the channel.
  void in_loop(std::function<void()> call) {
    asio::post(io, [self = shared_from_this(), call = std::move(call)] {
      if (!self->stopping) call();
    });
  }

  asio::io_context& io;
  std::string directory;
  std::function<void(const std::string&)> on_image;
  std::atomic<bool> stopping{false};
  // No garbage collection between a push's blobs and its name.
  std::map<cluster::Connection*, std::pair<std::weak_ptr<cluster::Connection>, oci::StoreLock>> locks;
  asio::steady_timer lock_timer;
  size_t sending = 0;
  std::deque<std::function<void()>> waiting;  // for their turn to send
  asio::thread_pool pool;
};

namespace {

// Sends a file's rest as its channel takes it.
class BlobSender : public std::enable_shared_from_this<BlobSender> {
 public:
  BlobSender(asio::io_context& io, Fd file, cluster::ChannelPtr channel, std::function<void()> at_end)
      : io_(io), file_(std::move(file)), channel_(std::move(channel)), at_end_(std::move(at_end)) {}
  void start() {
    auto self = shared_from_this();
    channel_->on_writable([self] { self->send(); });
    channel_->on_cancelled([self](const std::string&) { self->end(); });
    if (channel_->closed()) return end();
    send();
  }

 private:
  void send() {
    std::array<char, 64 << 10> buffer;
    for (size_t sent = 0; file_ && !channel_->closed();) {
      if (sent >= send_turn) return asio::post(io_, [self = shared_from_this()] { self->send(); });
      size_t room = std::min(channel_->writable(), buffer.size());
      if (room == 0) return;  // on_writable comes
      ssize_t size = read(file_.get(), buffer.data(), room);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) channel_->fail("cannot read a blob: " + SysError::describe(errno));
      if (size == 0) channel_->respond(nlohmann::json::object());
      if (size <= 0) return end();
      channel_->write({buffer.data(), static_cast<size_t>(size)});
      sent += static_cast<size_t>(size);
    }
  }
  void end() {
    file_.reset();
    if (at_end_) asio::post(io_, std::exchange(at_end_, nullptr));
  }

  asio::io_context& io_;
  Fd file_;
  cluster::ChannelPtr channel_;
  std::function<void()> at_end_;
};

}  // namespace

void ImageServer::Impl::missing(const cluster::Request& request, const cluster::ChannelPtr& channel) {
  oci::Store store(directory);
  if (request.connection && !locks.count(request.connection.get())) {
    locks.emplace(request.connection.get(), std::pair(std::weak_ptr(request.connection), store.use()));
    if (locks.size() == 1) check_locks();
  }
  nlohmann::json missing = nlohmann::json::array();
  std::vector<Json> blobs = request.body.at("blobs").items();
  if (blobs.size() > max_blobs_asked)
    throw Error("cannot look for {} blobs at once: the limit is {}", blobs.size(), max_blobs_asked);
  for (const Json& json : blobs)
    if (oci::Descriptor blob = parse_blob(json); !store.has(blob)) missing.push_back(blob.digest.string());
  channel->respond({{"missing", std::move(missing)}});
}

// Whoever left without naming its image holds nothing up any longer.
void ImageServer::Impl::check_locks() {
  for (auto it = locks.begin(); it != locks.end();) {
    auto connection = it->second.first.lock();
    it = !connection || connection->closed() ? locks.erase(it) : std::next(it);
  }
  if (locks.empty()) return;
  lock_timer.expires_after(lock_check);
  lock_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    auto self = weak.lock();
    if (!error && self) self->check_locks();
  });
}

void ImageServer::Impl::put(const Json& body, const cluster::ChannelPtr& channel) {
  oci::Descriptor blob = parse_blob(body);
  Pipe pipe = make_pipe();
  channel->widen(cluster::max_window);
  cluster::pump_stdio(io, {.in = std::move(pipe.write)}, channel, nullptr);
  asio::post(pool, [self = shared_from_this(), blob, channel,
                    end = std::make_shared<Fd>(std::move(pipe.read))]() mutable {
    try {
      self->take_blob(blob, std::move(*end), channel);
    } catch (const std::exception& e) {  // the boundary of the thread
      self->in_loop([channel, error = std::string(e.what())] { channel->fail(error); });
    }
  });
}

void ImageServer::Impl::take_blob(const oci::Descriptor& blob, Fd pipe, const cluster::ChannelPtr& channel) {
  if (stopping) return;
  oci::Store store(directory);
  std::optional<oci::BlobWriter> writer = store.write_known(blob);
  if (!writer) return in_loop([channel] { channel->respond({{"present", true}}); });
  uint64_t offset = writer->size();
  writer->replay([](Bytes) {});
  in_loop([channel, offset] { channel->write_event({{"offset", offset}}); });
  receive(pipe.get(), stopping, [&](Bytes bytes) { writer->write(bytes); });
  if (writer->size() < blob.size)  // kept for the next try
    throw Error("the transfer of {} ended after {} of {} bytes", blob.digest.string(), writer->size(),
                blob.size);
  writer->commit();
  in_loop([channel] { channel->respond(nlohmann::json::object()); });
}

void ImageServer::Impl::tag(const cluster::Request& request, const cluster::ChannelPtr& channel) {
  oci::Descriptor descriptor = parse_blob(request.body);
  oci::Reference reference = oci::parse_reference(request.body.at("name").string());
  auto connection = request.connection.get();
  std::string label = request.peer.label;
  asio::post(pool, [self = shared_from_this(), descriptor, reference, channel, connection, label] {
    try {
      oci::Store store(self->directory);
      oci::StoreLock lock = store.use();
      oci::Image image = store.image(descriptor);
      for (const oci::Descriptor& layer : image.manifest.layers)
        if (!store.has(layer)) throw Error("blob {} is missing", layer.digest.string());
      store.tag(oci::to_string(reference), descriptor);
      self->in_loop([self, reference, channel, connection, label] {
        self->locks.erase(connection);
        info("image '{}' was brought by {}", oci::familiar(reference), label);
        channel->respond(nlohmann::json::object());
        self->on_image(oci::familiar(reference));
      });
    } catch (const std::exception& e) {  // the boundary of the thread
      self->in_loop([channel, reference, error = std::string(e.what())] {
        channel->fail(fmt::format("cannot name image '{}': {}", oci::familiar(reference), error));
      });
    }
  });
}

void ImageServer::Impl::manifest(const Json& body, const cluster::ChannelPtr& channel) {
  oci::Store store(directory);
  oci::Descriptor descriptor;
  if (auto digest = body.find("digest")) {
    descriptor.digest = oci::Digest::parse(digest->string());
    auto found = status(store.blob_path(descriptor.digest));
    if (!found) throw Error("the head has no manifest {}", descriptor.digest.string());
    descriptor.size = static_cast<uint64_t>(found->st_size);
  } else {
    std::string name = body.at("name").string();
    oci::Reference reference = oci::parse_reference(name);
    auto found = store.find(oci::to_string(reference));
    if (!found)
      throw Error("the head has no image '{}' yet (rayctl push head:{})", oci::familiar(reference),
                  oci::familiar(reference));
    descriptor = *found;
  }
  if (descriptor.size > max_inline_manifest)
    throw Error("manifest {} is larger than {} bytes", descriptor.digest.string(), max_inline_manifest);
  std::string bytes = store.read(descriptor, max_inline_manifest);
  descriptor.media_type = std::visit([](const auto& d) { return d.media_type; },
                                     oci::parse_document(bytes, descriptor.media_type));
  nlohmann::json answer = to_json(descriptor);
  answer["bytes"] = std::move(bytes);
  channel->respond(answer);
}

void ImageServer::Impl::blob(const Json& body, const cluster::ChannelPtr& channel) {
  oci::Descriptor blob = parse_blob(body);
  uint64_t offset = body.size_or("offset", 0);
  if (offset > blob.size) throw Error("blob {} has only {} bytes", blob.digest.string(), blob.size);
  auto file = std::make_shared<Fd>(oci::Store(directory).open(blob));
  check(lseek(file->get(), static_cast<off_t>(offset), SEEK_SET), "cannot seek in blob {}",
        blob.digest.string());
  waiting.push_back([self = shared_from_this(), file, channel] {
    ++self->sending;
    std::make_shared<BlobSender>(self->io, std::move(*file), channel, [self] {
      --self->sending;
      self->next_sender();
    })->start();
  });
  next_sender();
}

void ImageServer::Impl::next_sender() {
  while (!stopping && sending < senders && !waiting.empty()) {
    auto start = std::move(waiting.front());
    waiting.pop_front();
    start();
  }
}

ImageServer::ImageServer(asio::io_context& io, const Paths& paths, cluster::RequestTable& requests,
                         std::function<void(const std::string& name)> on_image)
    : impl_(std::make_shared<Impl>(io, paths, std::move(on_image))) {
  std::weak_ptr<Impl> weak = impl_;
  auto on = [&](const char* name, cluster::Access access, auto handler) {
    requests.on(name, access,
                [weak, handler](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                  if (auto self = weak.lock()) handler(*self, request, channel);
                });
  };
  using cluster::Access, cluster::Request, cluster::ChannelPtr;
  on("image.missing", Access::operate,
     [](Impl& self, const Request& request, const ChannelPtr& channel) { self.missing(request, channel); });
  on("image.put", Access::operate,
     [](Impl& self, const Request& request, const ChannelPtr& channel) { self.put(request.body, channel); });
  on("image.tag", Access::operate,
     [](Impl& self, const Request& request, const ChannelPtr& channel) { self.tag(request, channel); });
  on("image.manifest", Access::node, [](Impl& self, const Request& request, const ChannelPtr& channel) {
    self.manifest(request.body, channel);
  });
  on("image.blob", Access::node,
     [](Impl& self, const Request& request, const ChannelPtr& channel) { self.blob(request.body, channel); });
}

ImageServer::~ImageServer() {
  impl_->stopping = true;
  impl_->lock_timer.cancel();
  impl_->waiting.clear();
  impl_->pool.join();
}

}  // namespace rayctl::ray
