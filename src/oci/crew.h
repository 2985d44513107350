// A few threads for a list of like tasks.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

namespace rayctl::oci {

// Runs `work(i)` for each i of `order` on at most `threads` threads. The first error stops the rest and is
// thrown; `cancel`, when given, is set so that tasks under way can see it.
void run_crew(unsigned threads, const std::vector<size_t>& order, std::atomic<bool>* cancel,
              const std::function<void(size_t)>& work);

}  // namespace rayctl::oci
