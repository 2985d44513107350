#include "fleet/watch.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::fleet {

namespace {

constexpr size_t many = 20;  // machines beyond these aren't told one by one in a pipe

std::string stage_text(const MachineView& m) {
  std::string text(name_of(m.stage));
  if (!m.detail.empty()) text += " " + printable(m.detail);
  return text;
}

std::string age(WallTime since, WallTime now) {
  return human_duration(std::max(now - since, std::chrono::seconds(0)));
}

std::string cut(std::string text, size_t width) {
  if (text.size() <= width) return text;
  // Not within a character: its bytes after the first begin with 10.
  size_t end = width > 0 ? width - 1 : 0;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

std::string who(const MachineView& m) {
  std::string text = fmt::format("Machine-{} {}", m.record.number, m.record.role);
  if (!m.record.node_name.empty()) text += " " + m.record.node_name;
  return text;
}

std::string summary(const ClusterLook& look) {
  std::string text = fmt::format("{}: {}", look.name, name_of(look.progress));
  if (!look.missing.empty()) text += ", " + printable(look.missing);
  return text;
}

}  // namespace

std::vector<std::string> watch_lines(const ClusterLook& look, size_t width, size_t height) {
  std::vector<MachineView> machines = look.machines;
  sort_machines(machines);
  size_t room = height > 6 ? height - 6 : 1;
  bool all = machines.size() <= room;
  size_t longest = 0;
  for (const MachineView& m : machines) longest = std::max(longest, who(m).size());
  std::vector<std::string> lines;
  size_t hidden = 0;
  for (const MachineView& m : machines) {
    if (lines.size() >= room || (!all && m.stage == Stage::healthy)) {
      ++hidden;
      continue;
    }
    std::string address =
        m.record.public_address.empty() ? m.record.private_address : m.record.public_address;
    std::string line = fmt::format("  {:<{}}  {:<15}  {:<18} {:>8}", who(m), longest, address, stage_text(m),
                                   age(m.since, look.when));
    if (!m.error.empty()) line += "  " + printable(m.error);
    lines.push_back(cut(line, width));
    if (lines.size() < room)
      for (const std::string& text : split(m.console, '\n'))
        if (!text.empty() && lines.size() < room) lines.push_back(cut("      | " + text, width));
  }
  if (hidden) lines.push_back(cut(fmt::format("  … and {} more", hidden), width));
  lines.push_back(cut(summary(look), width));
  lines.push_back(cut(describe(look.cost), width));
  return lines;
}

Watch::Watch(Form form) {
  const char* term = std::getenv("TERM");
  terminal_ = form == Form::automatic && isatty(2) == 1 && !(term && std::string_view(term) == "dumb");
}

Watch::~Watch() = default;

void Watch::draw(const std::vector<std::string>& lines) {
  std::string out;
  if (drawn_) out += fmt::format("\x1b[{}A", drawn_);
  for (const std::string& line : lines) out += "\r\x1b[K" + line + "\n";
  if (lines.size() < drawn_) out += "\x1b[J";
  drawn_ = lines.size();
  write_fd(2, out, "stderr");
}

void Watch::print_changes(const ClusterLook& look) {
  std::string out;
  std::vector<MachineView> machines = look.machines;
  sort_machines(machines);
  if (machines.size() <= many)
    for (const MachineView& m : machines) {
      std::string text = stage_text(m);
      if (!m.error.empty()) text += ": " + printable(m.error);
      std::string& before = said_[m.record.number];
      if (before == text) continue;
      before = text;
      out += fmt::format("{}: {}\n", who(m), text);
      for (const std::string& line : split(m.console, '\n'))
        if (!line.empty()) out += "    | " + line + "\n";
    }
  // Percentages would make a line each.
  if (std::string text = summary(look); machines.size() > many && text != last_summary_) {
    out += text + "\n";
    last_summary_ = text;
  }
  if (!look.error.empty() && look.error != last_error_)
    out += fmt::format("{}: {}\n", look.name, printable(look.error));
  last_error_ = look.error;
  if (!out.empty()) write_fd(2, out, "stderr");
}

void Watch::show(const ClusterLook& look) {
  if (!terminal_) return print_changes(look);
  winsize size{};
  bool known = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
  draw(watch_lines(look, known ? size.ws_col : 80, known ? size.ws_row : 24));
}

}  // namespace rayctl::fleet
