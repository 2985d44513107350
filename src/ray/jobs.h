// Blocking work beside the loop: done by a small pool, its result comes back into the loop.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

#include "base/error.h"

namespace rayctl::ray {

class Jobs {
 public:
  explicit Jobs(boost::asio::io_context& io) : io_(io) {}
  ~Jobs() {  // running jobs are waited for
    ending_ = true;
    pool_.stop();
  }
  const std::atomic<bool>& ending() const { return ending_; }  // long jobs look at it, and give up

  // `work` runs in the pool; then `done(result, error)` in the loop, `error` empty when it worked.
  template <class T>
  void run(std::function<T()> work,
           std::function<void(std::optional<T> result, const std::string& error)> done) {
    boost::asio::post(pool_, [this, work = std::move(work), done = std::move(done)] {
      std::optional<T> result;
      std::string error;
      try {
        result = work();
      } catch (const std::exception& e) {
        error = e.what();
      }
      boost::asio::post(io_, [done, result = std::move(result), error = std::move(error)]() mutable {
        done(std::move(result), error);
      });
    });
  }

 private:
  boost::asio::io_context& io_;
  std::atomic<bool> ending_ = false;
  boost::asio::thread_pool pool_{3};
};

}  // namespace rayctl::ray
