// Help, man pages and completion scripts: three views of the table of commands.
#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"

namespace rayctl::cli {

namespace {

constexpr std::pair<Group, const char*> headings[] = {{Group::images, "Images"},
                                                      {Group::node, "Containers and nodes"},
                                                      {Group::cluster, "Clusters"},
                                                      {Group::other, "Other"}};

constexpr const char* global_options =
    "      --state-dir DIR     images, layers, containers and keys (default /var/lib/rayctl)\n"
    "      --run-dir DIR       sockets, locks and network namespaces (default /run/rayctl)\n"
    "      --context NAME      the cluster to talk to (rayctl context ls; or set RAYCTL_CONTEXT)\n"
    "      --log-format text|json, --log-level error|warn|info|debug\n";

std::string usage_line(const std::string& path, const Command& c) {
  std::string line = path;
  bool options = std::any_of(c.arguments.begin(), c.arguments.end(), [](const Argument& a) {
    return a.kind == Argument::Kind::flag || a.kind == Argument::Kind::option;
  });
  if (options) line += " [OPTION]...";
  for (const Argument& a : c.arguments) {
    if (a.kind == Argument::Kind::rest) line += " [" + a.names + "]...";
    if (a.kind != Argument::Kind::positional) continue;
    bool many = std::holds_alternative<std::vector<std::string>*>(a.target);
    line += (a.required ? " " + a.names : " [" + a.names + "]") + (many ? "..." : "");
  }
  return line;
}

std::string spelled(const Argument& a) {
  std::vector<std::string> names = split(a.names, ',');
  std::string text = fmt::format("{}", fmt::join(names, ", "));
  if (names.size() == 1 && names[0].starts_with("--")) text = "    " + text;
  if (a.kind == Argument::Kind::option) text += " " + a.value;
  return text;
}

std::string default_of(const Argument& a) {
  if (auto* p = std::get_if<std::string*>(&a.target); p && !(*p)->empty())
    return fmt::format(" (default {})", **p);
  if (auto* p = std::get_if<uint64_t*>(&a.target)) return fmt::format(" (default {})", **p);
  return "";
}

// "  name    help", with the help indented to one column and long names on a line of their own.
std::string row(const std::string& name, const std::string& help, size_t column) {
  if (name.size() + 4 > column) return fmt::format("  {}\n{}{}\n", name, std::string(column, ' '), help);
  return fmt::format("  {}{}{}\n", name, std::string(column - name.size() - 2, ' '), help);
}

std::string escape_roff(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || (c == '-')) out += '\\';
    out += c;
  }
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out = "\\&" + out;
  return out;
}

void each(const std::string& path, const std::vector<Command>& commands,
          const std::function<void(const std::string&, const Command&)>& visit) {
  for (const Command& c : commands) {
    visit(path + " " + c.name, c);
    each(path + " " + c.name, c.commands, visit);
  }
}

std::string words_of(const Command& c) {
  std::string words;
  for (const Argument& a : c.arguments)
    if (a.kind == Argument::Kind::flag || a.kind == Argument::Kind::option)
      for (const std::string& name : split(a.names, ',')) words += name + " ";
  for (const Command& child : c.commands) words += child.name + " ";
  return words + "--help";
}

std::string fish_quote(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out + "'";
}

std::string fish_script(const std::vector<Command>& commands) {
  std::string out = "complete -c rayctl -f\n";
  for (const Command& c : commands) {
    out += fmt::format("complete -c rayctl -n __fish_use_subcommand -a {} -d {}\n", c.name,
                       fish_quote(c.summary));
    std::string seen = fmt::format("'__fish_seen_subcommand_from {}'", c.name);
    for (const Command& child : c.commands)
      out +=
          fmt::format("complete -c rayctl -n {} -a {} -d {}\n", seen, child.name, fish_quote(child.summary));
    for (const Argument& a : c.arguments) {
      if (a.kind != Argument::Kind::flag && a.kind != Argument::Kind::option) continue;
      out += "complete -c rayctl -n " + seen;
      for (const std::string& name : split(a.names, ','))
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (a.kind == Argument::Kind::option)
        out += a.choices.empty() ? " -rF" : fmt::format(" -xa '{}'", fmt::join(a.choices, " "));
      out += " -d " + fish_quote(a.help) + "\n";
    }
  }
  return out;
}

}  // namespace

std::string help_text(const std::vector<Command>& commands) {
  std::string text =
      "rayctl runs Ray on plain machines: it builds the image, joins the machines, starts the cluster.\n\n"
      "usage: rayctl COMMAND [OPTION]... [ARGUMENT]...\n";
  for (const auto& [group, heading] : headings) {
    std::string rows;
    for (const Command& c : commands)
      if (c.group == group) rows += row(c.name, c.summary, 16);
    if (!rows.empty()) text += fmt::format("\n{}:\n{}", heading, rows);
  }
  return text + "\nEvery command also takes:\n" + global_options +
         "\n'rayctl COMMAND --help' shows a command with examples.\n";
}

std::string help_text(const std::string& path, const Command& command) {
  std::string text = command.summary + "\n\n";
  if (command.run) text += "usage: " + usage_line(path, command) + "\n";
  for (const Command& child : command.commands) {
    text +=
        (text.ends_with("\n\n") ? "usage: " : "       ") + usage_line(path + " " + child.name, child) + "\n";
  }
  if (!command.description.empty()) text += "\n" + command.description + "\n";
  std::string positionals, options;
  for (const Argument& a : command.arguments) {
    bool named = a.kind == Argument::Kind::flag || a.kind == Argument::Kind::option;
    (named ? options : positionals) += row(spelled(a), a.help + default_of(a), 30);
  }
  for (const Command& child : command.commands) positionals += row(child.name, child.summary, 30);
  if (!positionals.empty()) text += "\n" + positionals;
  if (!options.empty()) text += "\nOptions:\n" + options;
  if (!command.examples.empty()) {
    text += "\nExamples:\n";
    for (const Example& e : command.examples) text += fmt::format("  {}\n      {}\n", e.line, e.says);
  }
  return text;
}

std::string man_page(const std::string& path, const Command& command) {
  std::string title = path;
  std::replace(title.begin(), title.end(), ' ', '-');
  std::string text = fmt::format(".TH \"{}\" 1\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n", escape_roff(title),
                                 escape_roff(title), escape_roff(command.summary));
  if (command.run) text += fmt::format(".B {}\n.br\n", escape_roff(usage_line(path, command)));
  for (const Command& child : command.commands)
    text += fmt::format(".B {}\n.br\n", escape_roff(usage_line(path + " " + child.name, child)));
  text += ".SH DESCRIPTION\n" +
          escape_roff(command.description.empty() ? command.summary + "." : command.description) + "\n";
  if (!command.arguments.empty()) text += ".SH OPTIONS\n";
  for (const Argument& a : command.arguments)
    text +=
        fmt::format(".TP\n.B {}\n{}\n", escape_roff(trim(spelled(a))), escape_roff(a.help + default_of(a)));
  if (!command.examples.empty()) text += ".SH EXAMPLES\n";
  for (const Example& e : command.examples)
    text += fmt::format(".TP\n.B {}\n{}\n", escape_roff(e.line), escape_roff(e.says));
  return text;
}

std::string man_page(const std::vector<Command>& commands) {
  std::string text =
      ".TH RAYCTL 1\n.SH NAME\nrayctl \\- run Ray on plain machines\n.SH SYNOPSIS\n.B rayctl\nCOMMAND "
      "[OPTION]... [ARGUMENT]...\n.SH COMMANDS\n";
  for (const Command& c : commands)
    text += fmt::format(".TP\n.BR rayctl\\-{} (1)\n{}\n", escape_roff(c.name), escape_roff(c.summary));
  return text;
}

std::string completion_script(const std::string& shell, const std::vector<Command>& commands) {
  if (shell == "fish") return fish_script(commands);
  std::string cases;
  each("rayctl", commands, [&](const std::string& path, const Command& c) {
    cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path.substr(7), words_of(c));
  });
  std::string top;
  for (const Command& c : commands) top += c.name + " ";
  std::string script;
  if (shell == "zsh") script = "#compdef rayctl\nautoload -U +X bashcompinit && bashcompinit\n";
  script +=
      "_rayctl() {\n  local current=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" word words i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n    word=\"${COMP_WORDS[i]}\"\n"
      "    case \"$word\" in -*) ;; *) [ \"$i\" -gt 2 ] || path=\"${path:+$path }$word\" ;; esac\n  done\n"
      "  case \"$path\" in\n    \"\") words=\"" +
      top + "--help\" ;;\n" + cases + "    *) case \"${path%% *}\" in\n";
  for (const Command& c : commands)
    script += fmt::format("      \"{}\") words=\"{}\" ;;\n", c.name, words_of(c));
  script +=
      "    esac ;;\n  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  [ \"${#COMPREPLY[@]}\" -gt 0 ] || COMPREPLY=($(compgen -f -- \"$current\"))\n}\n"
      "complete -F _rayctl rayctl\n";
  return script;
}

}  // namespace rayctl::cli
