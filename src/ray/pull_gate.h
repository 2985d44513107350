// One pull of an image at a time: the containers of a node that share it wait for the first.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace rayctl::ray {

class PullGate {
 public:
  // Calls `go` now, or once those before it have left.
  void enter(const std::string& image, std::function<void()> go) {
    auto [queue, first] = waiting_.try_emplace(image);
    if (first) return go();
    queue->second.push_back(std::move(go));
  }

  void leave(const std::string& image) {
    auto queue = waiting_.find(image);
    if (queue == waiting_.end()) return;
    if (queue->second.empty()) {
      waiting_.erase(queue);
      return;
    }
    std::function<void()> next = std::move(queue->second.front());
    queue->second.pop_front();
    next();
  }

 private:
  std::map<std::string, std::deque<std::function<void()>>> waiting_;
};

}  // namespace rayctl::ray
