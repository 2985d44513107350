// A bounded queue of bytes between two threads: one writes, one reads, each at its own pace.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <vector>

#include "base/io.h"

namespace rayctl {

// Blocks travel whole and are used again, so that no byte is copied on the way from take() to recycle().
class ByteQueue {
 public:
  using Block = std::vector<std::byte>;
  static constexpr size_t block_size = 1 << 20;

  explicit ByteQueue(size_t blocks = 8) : capacity_(blocks) {}

  // The writer's side. put() waits while the queue is full; it throws Stopped when the reader has gone.
  Block empty_block();  // of block_size bytes
  void put(Block block);
  void write(Bytes bytes);                       // collects small pieces into blocks
  void flush();                                  // what write() holds back
  void finish();                                 // flushes; the reader sees the end
  void fail(std::exception_ptr error) noexcept;  // the reader gets this error

  // The reader's side.
  Block take();  // empty = the end
  void recycle(Block block);
  Source source();          // copies; the queue must outlive it
  void stop() noexcept;     // the reader wants no more: put() throws Stopped
  void discard() noexcept;  // the same, but the writer goes on into the void

  // Thrown in the writer; the reader's own error is the one to report.
  struct Stopped : std::exception {
    const char* what() const noexcept override { return "the reader of a stream has ended"; }
  };

 private:
  size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Block> full_;
  std::vector<Block> spare_;
  Block collecting_;  // the writer's
  size_t collected_ = 0;
  bool finished_ = false, stopped_ = false, discarding_ = false;
  std::exception_ptr error_;
};

}  // namespace rayctl
