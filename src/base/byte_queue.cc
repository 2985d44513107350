#include "base/byte_queue.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

namespace rayctl {

ByteQueue::Block ByteQueue::empty_block() {
  {
    std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      Block block = std::move(spare_.back());
      spare_.pop_back();
      block.resize(block_size);
      return block;
    }
  }
  return Block(block_size);
}

void ByteQueue::put(Block block) {
  if (block.empty()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopped_ || discarding_ || full_.size() < capacity_; });
  if (stopped_) throw Stopped();
  if (discarding_) return;
  full_.push_back(std::move(block));
  changed_.notify_all();
}

void ByteQueue::write(Bytes bytes) {
  while (!bytes.empty()) {
    if (collecting_.empty()) {
      collecting_ = empty_block();
      collected_ = 0;
    }
    size_t n = std::min(bytes.size(), collecting_.size() - collected_);
    std::memcpy(collecting_.data() + collected_, bytes.data(), n);
    collected_ += n;
    bytes = bytes.subspan(n);
    if (collected_ == collecting_.size()) flush();
  }
}

void ByteQueue::flush() {
  if (collecting_.empty()) return;
  collecting_.resize(collected_);
  put(std::exchange(collecting_, {}));
}

void ByteQueue::finish() {
  flush();
  std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void ByteQueue::fail(std::exception_ptr error) noexcept {
  std::lock_guard lock(mutex_);
  error_ = std::move(error);
  finished_ = true;
  changed_.notify_all();
}

ByteQueue::Block ByteQueue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return finished_ || !full_.empty(); });
  if (error_) std::rethrow_exception(error_);
  if (full_.empty()) return {};
  Block block = std::move(full_.front());
  full_.pop_front();
  changed_.notify_all();
  return block;
}

void ByteQueue::recycle(Block block) {
  if (block.capacity() < block_size) return;
  std::lock_guard lock(mutex_);
  if (spare_.size() < capacity_ + 2) spare_.push_back(std::move(block));
}

Source ByteQueue::source() {
  struct Position {
    Block block = {};
    size_t at = 0;
  };
  return [this, position = std::make_shared<Position>()](std::span<std::byte> out) {
    if (position->at == position->block.size()) {
      if (!position->block.empty()) recycle(std::move(position->block));
      position->block = take();
      position->at = 0;
    }
    size_t n = std::min(out.size(), position->block.size() - position->at);
    std::copy_n(position->block.begin() + static_cast<ptrdiff_t>(position->at), n, out.begin());
    position->at += n;
    return n;
  };
}

void ByteQueue::discard() noexcept {
  std::lock_guard lock(mutex_);
  discarding_ = true;
  full_.clear();
  changed_.notify_all();
}

void ByteQueue::stop() noexcept {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace rayctl
