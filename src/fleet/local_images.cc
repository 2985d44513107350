#include "fleet/local_images.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "fleet/head_images.h"
#include "oci/reference.h"

namespace rayctl::fleet {

namespace {

using namespace std::chrono_literals;
constexpr auto again = 5s;
constexpr std::string_view on_head = "head:";

bool is_here(const std::string& directory, const std::string& name) {
  return oci::Store::names_in(directory, oci::to_string(oci::parse_reference(name)));
}

}  // namespace

void adopt_local_images(const std::string& directory, Settings& settings, stitch::Deployment& deployment) {
  settings.local_images.clear();
  auto adopt = [&](std::string& image) {
    bool asked = image.starts_with(on_head);
    std::string name = asked ? image.substr(on_head.size()) : image;
    if (name.empty() || (!asked && oci::names_registry(name)) || !is_here(directory, name)) return;
    image = std::string(on_head) + name;
    std::vector<std::string>& list = settings.local_images;
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  };
  adopt(settings.image);
  for (stitch::Container& container : deployment.containers) adopt(container.image);
  settings.image_store = settings.local_images.empty() ? "" : directory;
}

struct ImageDelivery::State {
  cluster::Context context;
  std::string directory;
  std::vector<std::string> names;
  Transfer transfer;
  mutable std::mutex mutex;
  std::condition_variable wake;
  std::string sending, trouble;
  bool stopping = false, done = false;
  std::thread thread;

  void run() {
    while (true) {
      std::string words;
      try {
        send_all();
      } catch (const Interrupted&) {
        return;
      } catch (const Error& e) {
        words = e.message();
      } catch (const std::exception& e) {
        words = e.what();
      }
      std::unique_lock lock(mutex);
      trouble = words;
      sending.clear();
      done = words.empty();
      if (done || wake.wait_for(lock, again, [&] { return stopping; })) return;
    }
  }

  void send_all() {
    oci::Store store(directory);
    oci::StoreLock use = store.use();
    for (const std::string& name : names) {
      {
        std::lock_guard lock(mutex);
        sending = name;
      }
      transfer.total = transfer.sent = 0;
      oci::Descriptor image = store.locate(name).descriptor;
      cluster::OperatorClient head = cluster::OperatorClient::dial(context);
      push_to_head(head, store, image, name, &transfer);
    }
  }
};

ImageDelivery::ImageDelivery(cluster::Context head, const Settings& settings)
    : state_(std::make_unique<State>()) {
  state_->context = std::move(head);
  state_->directory = settings.image_store;
  state_->names = settings.local_images;
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

ImageDelivery::~ImageDelivery() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->transfer.cancel = true;
    state_->wake.notify_all();
  }
  state_->thread.join();
}

std::string ImageDelivery::state() const {
  std::lock_guard lock(state_->mutex);
  if (state_->done) return "";
  if (state_->sending.empty())
    return state_->trouble.empty() ? "sending the image" : "cannot send the image: " + state_->trouble;
  uint64_t total = state_->transfer.total, sent = state_->transfer.sent;
  if (total == 0) return fmt::format("sending {}", state_->sending);
  return fmt::format("sending {}, {} %", state_->sending, sent * 10 / total * 10);  // in tens: a line each
}

}  // namespace rayctl::fleet
