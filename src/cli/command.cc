#include "cli/command.h"

namespace rayctl::cli {

Argument flag(std::string names, bool& target, std::string help) {
  return {Argument::Kind::flag, std::move(names), "", &target, std::move(help)};
}

Argument option(std::string names, std::string value, Argument::Target target, std::string help) {
  return {Argument::Kind::option, std::move(names), std::move(value), target, std::move(help)};
}

Argument choice(std::string names, std::vector<std::string> choices, Argument::Target target,
                std::string help) {
  std::string value;
  for (const std::string& c : choices) value += (value.empty() ? "" : "|") + c;
  Argument argument = option(std::move(names), std::move(value), target, std::move(help));
  argument.choices = std::move(choices);
  return argument;
}

Argument positional(std::string name, Argument::Target target, std::string help) {
  return {Argument::Kind::positional, name, std::move(name), target, std::move(help)};
}

Argument required(Argument argument) {
  argument.required = true;
  return argument;
}

Argument rest(std::string name, std::vector<std::string>& target, std::string help) {
  return {Argument::Kind::rest, name, std::move(name), &target, std::move(help)};
}

}  // namespace rayctl::cli
