#include "oci/piecewise.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr uint64_t pieces_worth_it = 8;

struct Stopped {};  // thrown within a piece whose bytes nobody wants any more

// Pieces are numbered from 0; `next_` is the first that nobody fetches, `passed_` the first that wasn't
// passed on.
class Fetchers {
 public:
  Fetchers(uint64_t at, uint64_t end, const PiecewisePlan& plan, const FetchPiece& fetch)
      : at_(at), end_(end), plan_(plan), fetch_(fetch), count_((end - at + plan.piece - 1) / plan.piece) {
    for (uint64_t i = 0; i < std::min<uint64_t>(plan.streams, count_); ++i)
      threads_.emplace_back([this] { run(); });
  }

  ~Fetchers() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  uint64_t count() const { return count_; }

  // The next piece, in order; false when the server has no ranges.
  bool take(std::string& bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_.contains(passed_); });
    auto node = done_.extract(passed_);
    if (node.mapped().error) std::rethrow_exception(node.mapped().error);
    ++passed_;
    lock.unlock();
    changed_.notify_all();
    bytes = std::move(node.mapped().bytes);
    return node.mapped().ranges;
  }

 private:
  struct Piece {
    std::string bytes = {};
    bool ranges = true;
    std::exception_ptr error = {};
  };

  bool stopping() {
    std::lock_guard lock(mutex_);
    return stopping_;
  }

  Piece fetch(uint64_t number) {
    Piece piece;
    uint64_t first = at_ + number * plan_.piece, size = std::min(plan_.piece, end_ - first);
    try {
      piece.bytes.reserve(size);
      piece.ranges = fetch_(first, size, [&](Bytes bytes) {
        if (stopping()) throw Stopped();
        piece.bytes += as_text(bytes);
      });
    } catch (...) {  // for the caller's thread
      piece.error = std::current_exception();
    }
    return piece;
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock,
                    [&] { return stopping_ || next_ == count_ || next_ < passed_ + plan_.streams + 1; });
      if (stopping_ || next_ == count_) return;
      uint64_t mine = next_++;
      lock.unlock();
      Piece piece = fetch(mine);
      lock.lock();
      if (piece.error || !piece.ranges) next_ = count_;  // what comes after it won't be needed
      done_.emplace(mine, std::move(piece));
      changed_.notify_all();
    }
  }

  const uint64_t at_, end_;
  const PiecewisePlan plan_;
  const FetchPiece& fetch_;
  const uint64_t count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Piece> done_;
  uint64_t next_ = 0, passed_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

uint64_t fetch_piecewise(uint64_t at, uint64_t end, const PiecewisePlan& plan, const FetchPiece& fetch,
                         const Sink& take) {
  // The first one alone: whether there are ranges is known before several transfers of the whole begin.
  std::string bytes;
  uint64_t size = std::min(plan.piece, end - at);
  if (!fetch(at, size, [&](Bytes part) { bytes += as_text(part); })) return at;
  take(as_bytes(bytes));
  at += size;
  if (at == end) return at;
  Fetchers fetchers(at, end, plan, fetch);
  for (uint64_t i = 0; i < fetchers.count(); ++i) {
    if (!fetchers.take(bytes)) return at;
    take(as_bytes(bytes));
    at += bytes.size();
  }
  return at;
}

unsigned streams_for(uint64_t size, uint64_t total, unsigned parallel, const PiecewisePlan& plan) {
  bool dominates = size > total - std::min(total, size);
  return dominates && size >= pieces_worth_it * plan.piece ? std::min(parallel, plan.streams) : 1;
}

PiecewisePlan default_piecewise_plan() {
  PiecewisePlan plan;
  if (const char* piece = std::getenv("RAYCTL_PIECE_BYTES"))
    plan.piece = std::max<uint64_t>(1, parse_size(piece));
  return plan;
}

}  // namespace rayctl::oci
