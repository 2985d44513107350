// argv -> the variables that a command's table is bound to. The only file that includes CLI11.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/command.h"

namespace rayctl::cli {

namespace {

struct GlobalValues {
  std::string state_dir, run_dir;
  std::optional<std::string> context;
  std::string log_format = "text", log_level = "info";
};

std::vector<Argument> global_arguments(GlobalValues& values) {
  return {
      option("--state-dir", "DIR", &values.state_dir, "where images, layers, containers and keys are kept"),
      option("--run-dir", "DIR", &values.run_dir, "where sockets, locks and network namespaces are kept"),
      option("--context", "NAME", &values.context, "the cluster to talk to, as 'rayctl context ls' names it"),
      choice("--log-format", {"text", "json"}, &values.log_format, "the form of messages on stderr"),
      choice("--log-level", {"error", "warn", "info", "debug"}, &values.log_level,
             "the least important message to show"),
  };
}

template <class T>
auto setter(std::optional<T>* target, T (*convert)(const std::string&)) {
  return [target, convert](const std::string& text) { *target = convert(text); };
}

uint64_t to_number(const std::string& text) {
  if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos)
    throw UsageError("expected a whole number, found '{}'", text);
  return std::stoull(text);
}

double to_decimal(const std::string& text) {
  double value = 0;
  if (!CLI::detail::lexical_cast(text, value) || value != value)
    throw UsageError("expected a number, found '{}'", text);
  return value;
}

Size to_size(const std::string& text) {
  try {
    return {parse_size(text)};
  } catch (const Error& e) {
    throw UsageError("{}", e.message());
  }
}

std::string to_text(const std::string& text) {
  return text;
}

// Binds one table row. The conversions are ours, so that every message reads the same.
CLI::Option* bind(CLI::App& app, const Argument& a) {
  struct Binder {
    CLI::App& app;
    const Argument& a;
    CLI::Option* operator()(bool* p) { return app.add_flag(a.names, *p, a.help); }
    CLI::Option* operator()(std::string* p) {
      return text([p](const std::string& v) { *p = v; });
    }
    CLI::Option* operator()(uint64_t* p) {
      return text([p](const std::string& v) { *p = to_number(v); });
    }
    CLI::Option* operator()(std::optional<std::string>* p) { return text(setter(p, to_text)); }
    CLI::Option* operator()(std::optional<uint64_t>* p) { return text(setter(p, to_number)); }
    CLI::Option* operator()(std::optional<double>* p) { return text(setter(p, to_decimal)); }
    CLI::Option* operator()(std::optional<Size>* p) { return text(setter(p, to_size)); }
    CLI::Option* operator()(std::vector<std::string>* p) {
      CLI::Option* o = app.add_option(a.names, *p, a.help);
      if (a.kind == Argument::Kind::option) o->allow_extra_args(false);
      return o;
    }
    CLI::Option* text(std::function<void(const std::string&)> set) {
      auto checked = [this_argument = a, set = std::move(set)](const std::string& value) {
        const auto& allowed = this_argument.choices;
        if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), value) == allowed.end())
          throw UsageError("{}: '{}' isn't one of {}", this_argument.names, value, this_argument.value);
        try {
          set(value);
        } catch (UsageError& e) {
          e.prefix("{}", this_argument.names);
          throw;
        }
      };
      return app.add_option_function<std::string>(a.names, checked, a.help);
    }
  };
  CLI::Option* o = std::visit(Binder{app, a}, a.target);
  if (a.required) o->required();
  return o;
}

const Argument* find_option(const std::vector<Argument>& arguments, std::string_view name) {
  for (const Argument& a : arguments) {
    if (a.kind != Argument::Kind::flag && a.kind != Argument::Kind::option) continue;
    for (const std::string& spelled : split(a.names, ','))
      if (spelled == name) return &a;
  }
  return nullptr;
}

// How many words of `words` starting at `i` an option takes: 1, or 2 when its value is the next word.
size_t option_width(const std::vector<Argument>& arguments, const std::string& word) {
  if (word.starts_with("--")) {
    const Argument* a = find_option(arguments, word);
    return a && a->kind == Argument::Kind::option ? 2 : 1;
  }
  for (size_t i = 1; i < word.size();
       ++i) {  // -it: the first letter that takes a value takes the rest of the word
    const Argument* a = find_option(arguments, std::string("-") + word[i]);
    if (a && a->kind == Argument::Kind::option) return i + 1 == word.size() ? 2 : 1;
  }
  return 1;
}

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

// Cuts off what belongs to the `rest` argument: all after the positionals in front of it.
void take_rest(std::vector<std::string>& words, const std::vector<Argument>& options,
               const Command& command) {
  if (command.arguments.empty() || command.arguments.back().kind != Argument::Kind::rest) return;
  auto before =
      static_cast<size_t>(std::count_if(command.arguments.begin(), command.arguments.end(),
                                        [](const auto& a) { return a.kind == Argument::Kind::positional; }));
  size_t i = 0;
  while (i < words.size()) {
    if (words[i] == "--") break;
    if (is_option(words[i])) {
      i += option_width(options, words[i]);
      continue;
    }
    if (before == 0) break;
    --before;
    ++i;
  }
  i = std::min(i, words.size());
  std::vector<std::string> tail(words.begin() + static_cast<ptrdiff_t>(i), words.end());
  words.resize(i);
  if (!tail.empty() && tail.front() == "--") tail.erase(tail.begin());
  *std::get<std::vector<std::string>*>(command.arguments.back().target) = std::move(tail);
}

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& c : commands) names.push_back(c.name);
  return names;
}

const Command& find_command(const std::string& path, const std::vector<Command>& commands,
                            const std::string& name) {
  for (const Command& c : commands)
    if (c.name == name) return c;
  std::string guess = nearest(name, names_of(commands));
  throw UsageError("unknown command '{} {}'{}; see '{} --help'", path, name,
                   guess.empty() ? "" : fmt::format(", did you mean '{} {}'?", path, guess), path);
}

void parse_words(const std::string& path, const Command& command, const std::vector<Argument>& globals,
                 std::vector<std::string> words) {
  std::vector<Argument> all = command.arguments;
  all.insert(all.end(), globals.begin(), globals.end());
  take_rest(words, all, command);
  CLI::App app;
  app.set_help_flag();  // ours is handled before
  for (const Argument& a : all)
    if (a.kind != Argument::Kind::rest) bind(app, a);
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(words);
  } catch (UsageError& e) {
    e.prefix("{}", path);
    e.hint("see '{} --help'", path);
    throw;
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> left = app.remaining();
    std::string word = left.empty() ? "" : left.front();
    std::vector<std::string> known;
    for (const Argument& a : all)
      for (const std::string& name : split(a.names, ',')) known.push_back(name);
    std::string name = word.substr(0, word.find('='));
    std::string guess = is_option(word) ? nearest(name, known) : "";
    throw UsageError("{}: unknown {} '{}'{} (see '{} --help')", path, is_option(word) ? "option" : "argument",
                     word, guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess), path);
  } catch (const CLI::ParseError& e) {
    std::string text = e.what();
    if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z' &&
        !(text.size() > 1 && text[1] >= 'A' && text[1] <= 'Z'))
      text[0] = static_cast<char>(text[0] + 32);
    throw UsageError("{}: {} (see '{} --help')", path, text, path);
  }
}

void apply(const GlobalValues& values, Globals& globals) {
  globals.paths = default_paths();
  if (!values.state_dir.empty()) globals.paths.state_dir = values.state_dir;
  if (!values.run_dir.empty()) globals.paths.run_dir = values.run_dir;
  globals.run_dir_given = !values.run_dir.empty();
  globals.context = values.context;
  static const std::vector<std::string> levels = {"error", "warn", "info", "debug"};
  auto level = std::find(levels.begin(), levels.end(), values.log_level) - levels.begin();
  set_log({.level = static_cast<Level>(level),
           .format = values.log_format == "json" ? LogFormat::json : LogFormat::text});
}

void print(const std::string& text) {
  fmt::print("{}", text);
}

}  // namespace

int dispatch(int argc, char** argv, const std::vector<Command>& commands) {
  GlobalValues values;
  std::vector<Argument> globals = global_arguments(values);
  std::vector<std::string> words(argv + 1, argv + argc);

  // The command's words come first but for global options; what stands in front is parsed with the rest.
  std::string path = "rayctl";
  const Command* command = nullptr;
  const std::vector<Command>* level = &commands;
  std::vector<std::string> front;
  size_t i = 0;
  for (; i < words.size() && !level->empty(); ++i) {
    if (words[i] == "--help" || words[i] == "-h") {
      print(command ? help_text(path, *command) : help_text(commands));
      return 0;
    }
    if (!command && (words[i] == "--version" || words[i] == "-V")) words[i] = "version";
    if (is_option(words[i])) {
      if (command && command->run) break;
      const Argument* global = find_option(globals, words[i].substr(0, words[i].find('=')));
      if (!global) throw UsageError("{}: unknown option '{}' (see '{} --help')", path, words[i], path);
      front.push_back(words[i]);
      if (option_width(globals, words[i]) == 2 && i + 1 < words.size()) front.push_back(words[++i]);
      continue;
    }
    if (command && command->run) {  // `node --role …` runs itself, `node reset` is its child
      auto child =
          std::find_if(level->begin(), level->end(), [&](const Command& c) { return c.name == words[i]; });
      if (child == level->end()) break;
    }
    command = &find_command(path, *level, words[i]);
    path += " " + words[i];
    level = &command->commands;
  }
  if (!command) {
    print(help_text(commands));
    return words.empty() ? 0 : static_cast<int>(ExitCode::usage);
  }
  std::vector<std::string> left(words.begin() + static_cast<ptrdiff_t>(i), words.end());
  // Help is asked for anywhere in front of what belongs to another program.
  std::vector<std::string> own = left;
  take_rest(own, command->arguments, *command);
  if (std::find(own.begin(), own.end(), "--help") != own.end() ||
      std::find(own.begin(), own.end(), "-h") != own.end()) {
    print(help_text(path, *command));
    return 0;
  }
  if (!command->run)
    throw UsageError("{}: name a command: {}", path,
                     fmt::format("{}", fmt::join(names_of(command->commands), ", ")));
  left.insert(left.begin(), front.begin(), front.end());
  parse_words(path, *command, globals, left);
  Globals parsed;
  apply(values, parsed);
  return command->run(parsed);
}

}  // namespace rayctl::cli
