// Shows a cluster on its way: redrawn on a terminal, a line for each change in a pipe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fleet/view.h"

namespace rayctl::fleet {

// What stands on the screen for this look: a line a machine (with many: those that aren't healthy, then
// counts), then the cluster's own. Without escapes, each line cut to `width`. Pure.
std::vector<std::string> watch_lines(const ClusterLook& look, size_t width, size_t height);

class Watch {
 public:
  enum class Form { automatic, lines };
  explicit Watch(Form form = Form::automatic);
  ~Watch();  // leaves the last picture standing
  void show(const ClusterLook& look);

 private:
  void draw(const std::vector<std::string>& lines);
  void print_changes(const ClusterLook& look);
  bool terminal_;
  size_t drawn_ = 0;
  std::map<uint32_t, std::string> said_;
  std::string last_summary_, last_error_;
};

}  // namespace rayctl::fleet
