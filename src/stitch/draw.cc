#include "stitch/draw.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"

namespace rayctl::stitch {

namespace {

// A label or the internet, and where it opens connections to.
struct Vertex {
  std::string name;
  std::string says;                            // "2 containers: nginx"
  std::map<size_t, std::string> targets = {};  // vertex -> ports
  bool called = false;
};

std::string ports_of(const Connection& connection) {
  return connection.min_port == connection.max_port
             ? fmt::format("{}", connection.min_port)
             : fmt::format("{}-{}", connection.min_port, connection.max_port);
}

std::string shortened(std::string text, size_t most) {
  if (text.size() <= most) return text;
  text.resize(most - 3);
  while (!text.empty() && static_cast<unsigned char>(text.back()) >= 0x80) text.pop_back();
  return text + "...";
}

std::string describe(const std::vector<const Container*>& containers) {
  if (containers.empty()) return "no container";
  std::map<std::string, size_t> kinds;
  for (const Container* container : containers) {
    std::string words = container->image;
    for (const std::string& word : container->command) words += " " + word;
    ++kinds[shortened(words, 60)];
  }
  std::vector<std::string> texts;
  for (const auto& [words, count] : kinds) {
    if (texts.size() == 3) {
      texts.push_back("...");
      break;
    }
    texts.push_back(count == 1 ? words : fmt::format("{} x {}", count, words));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

// Vertices in the order of the deployment, the internet first if it takes part.
std::vector<Vertex> vertices(const Deployment& deployment) {
  std::map<uint32_t, const Container*> containers;
  for (const Container& container : deployment.containers) containers[container.id] = &container;
  std::vector<Vertex> found;
  std::map<std::string, size_t> index;
  bool internet = std::any_of(deployment.connections.begin(), deployment.connections.end(),
                              [](const Connection& connection) {
                                return connection.from == public_label || connection.to == public_label;
                              });
  if (internet) {
    index[public_label] = 0;
    found.push_back({public_label, "the internet"});
  }
  for (const Label& label : deployment.labels) {
    std::vector<const Container*> members;
    for (uint32_t member : label.members)
      if (auto at = containers.find(member); at != containers.end()) members.push_back(at->second);
    index[label.name] = found.size();
    std::string says = describe(members);
    if (!label.annotations.empty()) says += fmt::format(" [{}]", fmt::join(label.annotations, ", "));
    found.push_back({label.name, says});
  }
  for (const Connection& connection : deployment.connections) {
    auto from = index.find(connection.from), to = index.find(connection.to);
    if (from == index.end() || to == index.end()) continue;
    std::string& ports = found[from->second].targets[to->second];
    ports += (ports.empty() ? "" : ", ") + ports_of(connection);
    found[to->second].called = true;
  }
  return found;
}

std::vector<const Container*> unlabelled(const Deployment& deployment) {
  std::set<uint32_t> labelled;
  for (const Label& label : deployment.labels) labelled.insert(label.members.begin(), label.members.end());
  std::vector<const Container*> found;
  for (const Container& container : deployment.containers)
    if (!labelled.count(container.id)) found.push_back(&container);
  return found;
}

size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string repeated(std::string_view text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string quoted_dot(std::string_view text) {
  std::string quoted = "\"";
  for (char c : printable(text)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string escaped_xml(std::string_view text) {
  std::string escaped;
  for (char c : printable(text)) {
    if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '&')
      escaped += "&amp;";
    else if (c == '"')
      escaped += "&quot;";
    else
      escaped += c;
  }
  return escaped;
}

// Columns of a picture: a vertex stands right of the first one that leads to it, walked breadth-first from
// the internet and from those that nobody calls.
std::vector<size_t> ranks(const std::vector<Vertex>& all) {
  constexpr size_t none = SIZE_MAX;
  std::vector<size_t> rank(all.size(), none), queue;
  auto walk = [&] {
    for (size_t next = 0; next < queue.size(); ++next)
      for (const auto& [target, ports] : all[queue[next]].targets)
        if (rank[target] == none) {
          rank[target] = rank[queue[next]] + 1;
          queue.push_back(target);
        }
    queue.clear();
  };
  for (size_t i = 0; i < all.size(); ++i)
    if (!all[i].called || all[i].name == public_label) {
      rank[i] = 0;
      queue.push_back(i);
    }
  walk();
  for (size_t i = 0; i < all.size(); ++i)  // cycles that nothing leads to
    if (rank[i] == none) {
      rank[i] = 0;
      queue.push_back(i);
      walk();
    }
  return rank;
}

struct Box {
  double x, y, width, height;
};

std::string edge_svg(const Box& from, const Box& to, bool self, const std::string& ports) {
  double x1 = from.x + from.width, y1 = from.y + from.height / 2, x2 = to.x, y2 = to.y + to.height / 2;
  std::string path;
  double label_x = (x1 + x2) / 2, label_y = (y1 + y2) / 2 - 4;
  if (self) {
    path = fmt::format("M {:.0f} {:.0f} c 40 -30 40 30 0 20", x1, y1 - 8);
    label_x = x1 + 34;
    label_y = y1 + 4;
  } else if (x2 > x1) {
    path = fmt::format("M {:.0f} {:.0f} C {:.0f} {:.0f}, {:.0f} {:.0f}, {:.0f} {:.0f}", x1, y1, x1 + 50, y1,
                       x2 - 50, y2, x2, y2);
  } else {  // back, or within one column: around below
    y1 = from.y + from.height;
    x1 = from.x + from.width / 2;
    x2 = to.x + to.width / 2;
    y2 = to.y + to.height;
    double low = std::max(y1, y2) + 30;
    path = fmt::format("M {:.0f} {:.0f} C {:.0f} {:.0f}, {:.0f} {:.0f}, {:.0f} {:.0f}", x1, y1, x1, low, x2,
                       low, x2, y2);
    label_x = (x1 + x2) / 2;
    label_y = low - 4;
  }
  return fmt::format(
      "<path d=\"{}\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#arrow)\"/>\n"
      "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\" fill=\"#555\" font-size=\"11\">{}</text>\n",
      path, label_x, label_y, escaped_xml(shortened(ports, 40)));
}

}  // namespace

std::string draw_text(const Deployment& deployment) {
  std::vector<Vertex> all = vertices(deployment);
  std::string text;
  std::set<size_t> drawn;
  size_t widest = 0;
  std::vector<std::pair<std::string, std::string>> lines;
  for (size_t i = 0; i < all.size(); ++i)
    for (const auto& [target, ports] : all[i].targets) {
      lines.emplace_back(fmt::format("{} -> {}", all[i].name, all[target].name), ports);
      widest = std::max(widest, lines.back().first.size());
      drawn.insert({i, target});
    }
  for (const auto& [edge, ports] : lines) text += fmt::format("{:<{}}  {}\n", edge, widest, ports);
  for (size_t i = 0; i < all.size(); ++i)
    if (!drawn.count(i)) text += all[i].name + "\n";
  for (const Container* container : unlabelled(deployment))
    text += fmt::format("(container {}: {})\n", container->id, printable(describe({container})));
  return text;
}

std::string draw_terminal(const Deployment& deployment, Charset charset) {
  bool utf8 = charset == Charset::utf8;
  const char* horizontal = utf8 ? "─" : "-";
  const char* vertical = utf8 ? "│" : "|";
  const char* corners[] = {utf8 ? "┌" : "+", utf8 ? "┐" : "+", utf8 ? "└" : "+", utf8 ? "┘" : "+"};
  const char* tee = utf8 ? "├" : "+";
  const char* end = utf8 ? "└" : "+";
  const char* arrow = utf8 ? "▶" : ">";
  std::vector<Vertex> all = vertices(deployment);
  std::string text;
  for (const Vertex& vertex : all) {
    std::string says = printable(vertex.says);
    size_t width = std::max(columns(vertex.name), columns(says)) + 2;
    auto line = [&](std::string_view content) {
      text += fmt::format("{} {}{} {}\n", vertical, content, std::string(width - 2 - columns(content), ' '),
                          vertical);
    };
    text += fmt::format("{}{}{}\n", corners[0], repeated(horizontal, width), corners[1]);
    line(vertex.name);
    line(says);
    text += fmt::format("{}{}{}\n", corners[2], repeated(horizontal, width), corners[3]);
    size_t left = vertex.targets.size();
    for (const auto& [target, ports] : vertex.targets)
      text += fmt::format("  {}{} {} {}{} {}\n", --left ? tee : end, horizontal, ports,
                          repeated(horizontal, 2), arrow, all[target].name);
  }
  std::vector<const Container*> others = unlabelled(deployment);
  if (!others.empty()) text += fmt::format("without a label: {}\n", printable(describe(others)));
  return text;
}

std::string draw_dot(const Deployment& deployment) {
  std::vector<Vertex> all = vertices(deployment);
  std::string text =
      fmt::format("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted_dot(deployment.name_space));
  for (const Vertex& vertex : all)
    text += fmt::format("  {} [label={}{}];\n", quoted_dot(vertex.name),
                        quoted_dot(vertex.name + ": " + vertex.says),
                        vertex.name == public_label ? ", shape=ellipse" : "");
  for (const Container* container : unlabelled(deployment))
    text += fmt::format("  {} [style=dashed, label={}];\n",
                        quoted_dot(fmt::format("container {}", container->id)),
                        quoted_dot(describe({container})));
  for (const Vertex& vertex : all)
    for (const auto& [target, ports] : vertex.targets)
      text += fmt::format("  {} -> {} [label={}];\n", quoted_dot(vertex.name), quoted_dot(all[target].name),
                          quoted_dot(ports));
  return text + "}\n";
}

std::string draw_svg(const Deployment& deployment) {
  std::vector<Vertex> all = vertices(deployment);
  std::vector<size_t> rank = ranks(all);
  constexpr double gap_x = 130, gap_y = 60, margin = 30, height = 46;
  std::vector<double> widths, bottoms;
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].says = shortened(all[i].says, 44);
    if (widths.size() <= rank[i]) widths.resize(rank[i] + 1, 0);
    double width = 7.0 * static_cast<double>(std::max(columns(all[i].name), columns(all[i].says))) + 24;
    widths[rank[i]] = std::max(widths[rank[i]], width);
  }
  bottoms.resize(widths.size(), margin);
  std::vector<Box> boxes;
  double total_width = margin, total_height = margin;
  std::vector<double> lefts;
  for (double width : widths) {
    lefts.push_back(total_width);
    total_width += width + gap_x;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    boxes.push_back({lefts[rank[i]], bottoms[rank[i]], widths[rank[i]], height});
    bottoms[rank[i]] += height + gap_y;
    total_height = std::max(total_height, bottoms[rank[i]]);
  }
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"13\">\n<title>{}</title>\n"
      "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"10\" refY=\"5\" markerWidth=\"7\" "
      "markerHeight=\"7\" "
      "orient=\"auto-start-reverse\"><path d=\"M 0 0 L 10 5 L 0 10 z\" fill=\"#555\"/></marker></defs>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      total_width, total_height, escaped_xml(deployment.name_space));
  for (size_t i = 0; i < all.size(); ++i)
    for (const auto& [target, ports] : all[i].targets)
      text += edge_svg(boxes[i], boxes[target], i == target, ports);
  for (size_t i = 0; i < all.size(); ++i) {
    const Box& box = boxes[i];
    bool internet = all[i].name == public_label;
    text += fmt::format(
        "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"{}\" fill=\"{}\" "
        "stroke=\"#333\"/>\n"
        "<text x=\"{:.0f}\" y=\"{:.0f}\" font-weight=\"bold\">{}</text>\n"
        "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#555\" font-size=\"11\">{}</text>\n",
        box.x, box.y, box.width, box.height, internet ? 22 : 4, internet ? "#eef" : "#f6f6f6", box.x + 12,
        box.y + 19, escaped_xml(all[i].name), box.x + 12, box.y + 36, escaped_xml(all[i].says));
  }
  return text + "</svg>\n";
}

}  // namespace rayctl::stitch
