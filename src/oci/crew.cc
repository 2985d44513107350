#include "oci/crew.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>

namespace rayctl::oci {

void run_crew(unsigned threads, const std::vector<size_t>& order, std::atomic<bool>* cancel,
              const std::function<void(size_t)>& work) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::exception_ptr error;
  auto attempt = [&](size_t i) {
    try {
      work(i);
    } catch (...) {  // the thread's boundary: carried to the caller
      std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      failed = true;
      if (cancel) *cancel = true;
    }
  };
  {
    std::vector<std::jthread> crew;
    for (size_t t = 0; t < std::min<size_t>(threads, order.size()); ++t)
      crew.emplace_back([&] {
        for (size_t i; !failed && (i = next++) < order.size();) attempt(order[i]);
      });
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace rayctl::oci
