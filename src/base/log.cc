#include "base/log.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

namespace rayctl {

using Clock = std::chrono::steady_clock;

struct Activity::State {
  std::string name;
  uint64_t total = 0;
  uint64_t done = 0;
  Clock::time_point started = Clock::now();
  bool finished = false;
};

namespace {

constexpr auto redraw_interval = std::chrono::milliseconds(100);

bool terminal_with_colour() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) && !std::getenv("NO_COLOR") && (!term || std::strcmp(term, "dumb") != 0);
}

// Everything that reaches stderr passes here, under one lock, so that lines and bars never mix.
class Screen {
 public:
  static Screen& instance() {
    static Screen screen;
    return screen;
  }

  void configure(const LogOptions& options) {
    std::lock_guard lock(mutex_);
    options_ = options;
    level_ = options.level;
    drawing_ = options.format == LogFormat::text && terminal_with_colour();
  }

  bool enabled(Level level) const { return level <= level_.load(std::memory_order_relaxed); }

  void line(Level level, std::string_view text) {
    if (!enabled(level)) return;
    std::lock_guard lock(mutex_);
    write_above(options_.format == LogFormat::json ? json_line(level, text) : text_line(level, text));
  }

  void failure(std::string_view text) {
    std::lock_guard lock(mutex_);
    if (options_.format == LogFormat::json) return write_above(json_line(Level::error, text));
    write_above(fmt::format("rayctl: {}\n", text));
  }

  void output(std::string_view prefix, std::string_view text) {
    std::lock_guard lock(mutex_);
    if (options_.format == LogFormat::json) {
      nlohmann::json record{{"level", "output"}, {"step", prefix}, {"message", text}};
      return write_above(record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
    write_above(fmt::format("{}{}\n", prefix, text));
  }

  void add(const std::shared_ptr<Activity::State>& activity) {
    std::lock_guard lock(mutex_);
    living_.push_back(activity);
    draw_if_due();
  }

  void remove(const std::shared_ptr<Activity::State>& activity) {
    std::lock_guard lock(mutex_);
    erase_bars();
    living_.erase(std::remove(living_.begin(), living_.end(), activity), living_.end());
    last_draw_ = {};
    draw_if_due();
  }

  void advance(Activity::State& activity, uint64_t amount) {
    std::lock_guard lock(mutex_);
    activity.done += amount;
    draw_if_due();
  }

  void rename(Activity::State& activity, std::string name) {
    std::lock_guard lock(mutex_);
    activity.name = std::move(name);
    draw_if_due();
  }

  void finish(Activity::State& activity, std::string_view outcome) {
    std::lock_guard lock(mutex_);
    if (std::exchange(activity.finished, true) || !enabled(Level::info)) return;
    std::string size = activity.total ? " " + human_size(activity.total) : "";
    std::string text = fmt::format("{}{} {} {}", activity.name, size, outcome,
                                   human_duration(Clock::now() - activity.started));
    write_above(options_.format == LogFormat::json ? json_line(Level::info, text)
                                                   : text_line(Level::info, text));
  }

 private:
  Screen() : drawing_(terminal_with_colour()) {}

  static std::string now() {
    timespec t{};
    clock_gettime(CLOCK_REALTIME, &t);
    tm parts{};
    gmtime_r(&t.tv_sec, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    return fmt::format("{}.{:03}Z", text, t.tv_nsec / 1'000'000);
  }

  std::string json_line(Level level, std::string_view text) const {
    static constexpr const char* names[] = {"error", "warn", "info", "debug"};
    nlohmann::json record{{"time", now()}, {"level", names[static_cast<int>(level)]}, {"message", text}};
    return record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

  std::string text_line(Level level, std::string_view text) const {
    static constexpr const char* plain[] = {"error: ", "warning: ", "", "debug: "};
    static constexpr const char* coloured[] = {"\033[31merror:\033[0m ", "\033[33mwarning:\033[0m ", "",
                                               "\033[2mdebug:\033[0m "};
    const char* mark = (drawing_ ? coloured : plain)[static_cast<int>(level)];
    return fmt::format("{}{}{}\n", options_.timestamps ? now() + " " : "", mark, text);
  }

  static void put(std::string_view text) {
    while (!text.empty()) {
      ssize_t n = write(STDERR_FILENO, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;  // nowhere left to say it
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

  void write_above(std::string_view text) {
    erase_bars();
    put(text);
    draw_if_due();
  }

  void erase_bars() {
    if (drawn_ == 0) return;
    put(fmt::format("\033[{}A\033[J", drawn_));
    drawn_ = 0;
    last_draw_ = {};
  }

  void draw_if_due() {
    if (!drawing_) return;
    auto time = Clock::now();
    if (time - last_draw_ < redraw_interval) return;
    erase_bars();
    last_draw_ = time;
    winsize size{};
    ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
    size_t columns = size.ws_col >= 40 ? size.ws_col : 80;
    size_t rows = size.ws_row >= 4 ? size.ws_row - 2u : 10;
    std::string text;
    for (const auto& activity : living_) {
      if (static_cast<size_t>(drawn_) >= rows) break;
      text += bar(*activity, columns, time) + "\n";
      ++drawn_;
    }
    put(text);
  }

  static std::string bar(const Activity::State& activity, size_t columns, Clock::time_point time) {
    auto elapsed = time - activity.started;
    double seconds = std::chrono::duration<double>(elapsed).count();
    uint64_t speed = seconds > 0.2 ? static_cast<uint64_t>(static_cast<double>(activity.done) / seconds) : 0;
    std::string right;
    if (activity.total) {
      uint64_t tenth = std::min<uint64_t>(20, activity.done * 20 / activity.total);
      right = fmt::format(" [{}{}] {:>8}/{} {}/s", std::string(tenth, '='), std::string(20 - tenth, ' '),
                          human_size(activity.done), human_size(activity.total), human_size(speed));
    } else if (activity.done) {
      right = fmt::format(" {} {}/s", human_size(activity.done), human_size(speed));
    } else {
      right = " " + human_duration(elapsed);
    }
    size_t room = columns > right.size() + 1 ? columns - right.size() - 1 : 8;
    std::string name = activity.name.substr(0, room);
    return name + std::string(room - name.size(), ' ') + right.substr(0, columns - room - 1);
  }

  std::mutex mutex_;
  LogOptions options_;
  std::atomic<Level> level_ = Level::info;
  bool drawing_;
  std::vector<std::shared_ptr<Activity::State>> living_;
  int drawn_ = 0;
  Clock::time_point last_draw_{};
};

}  // namespace

void set_log(const LogOptions& options) {
  Screen::instance().configure(options);
}
bool log_enabled(Level level) {
  return Screen::instance().enabled(level);
}

void log_line(Level level, std::string_view text) noexcept {
  try {
    Screen::instance().line(level, text);
  } catch (const std::exception&) {  // out of memory: saying less beats ending
  }
}

void log_failure(std::string_view text) noexcept {
  try {
    Screen::instance().failure(text);
  } catch (const std::exception&) {
  }
}

void log_output(std::string_view prefix, std::string_view line) noexcept {
  try {
    Screen::instance().output(prefix, line);
  } catch (const std::exception&) {
  }
}

Activity::Activity(std::string name, uint64_t total) : state_(std::make_shared<State>()) {
  state_->name = std::move(name);
  state_->total = total;
  Screen::instance().add(state_);
}
Activity::~Activity() {
  Screen::instance().remove(state_);
}
void Activity::advance(uint64_t amount) {
  Screen::instance().advance(*state_, amount);
}
void Activity::rename(std::string name) {
  Screen::instance().rename(*state_, std::move(name));
}
void Activity::finish(std::string_view outcome) {
  Screen::instance().finish(*state_, outcome);
}

bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) == 1;
}

}  // namespace rayctl
