#include "oci/dockerfile.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "oci/dockerfile_parts.h"
#include "oci/dockerfile_words.h"

namespace rayctl::oci {

namespace {

const std::vector<std::string>& keywords() {
  static const std::vector<std::string> all = {
      "ADD",   "ARG",     "CMD",        "COPY", "ENTRYPOINT", "ENV",        "EXPOSE", "FROM",   "HEALTHCHECK",
      "LABEL", "ONBUILD", "MAINTAINER", "RUN",  "SHELL",      "STOPSIGNAL", "USER",   "VOLUME", "WORKDIR"};
  return all;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// One line that shows the instruction to people.
std::string shown(const RawInstruction& raw) {
  std::string text = raw.keyword;
  for (const std::string& flag : raw.flags) text += " " + flag;
  if (!raw.text.empty()) text += " " + raw.text;
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

const std::string& one_word(const RawInstruction& raw, const Place& place, std::string_view what) {
  if (raw.text.empty()) throw error_at(place, "{} needs {}", raw.keyword, what);
  return raw.text;
}

ArgInstruction parse_arg(const RawInstruction& raw, char escape, const Place& place) {
  ArgInstruction arg;
  for (const std::string& word : quoted_words(raw.text, escape)) {
    size_t equals = word.find('=');
    Declaration declaration{word.substr(0, equals)};
    if (equals != std::string::npos) declaration.value = word.substr(equals + 1);
    if (declaration.name.empty()) throw error_at(place, "ARG '{}' has no name", printable(word));
    arg.declarations.push_back(std::move(declaration));
  }
  if (arg.declarations.empty()) throw error_at(place, "ARG needs a name");
  return arg;
}

CommandLine parse_command(const RawInstruction& raw, const std::string& text, const Place& place) {
  CommandLine command;
  command.heredocs = raw.heredocs;
  if (auto words = json_words(text, place)) {
    command.form = CommandLine::Form::exec;
    command.argv = std::move(*words);
  } else {
    command.text = text;
  }
  return command;
}

ShellInstruction parse_shell(const RawInstruction& raw, const Place& place) {
  auto words = json_words(raw.text, place);
  if (!words) throw error_at(place, "SHELL takes the JSON form alone: SHELL [\"/bin/bash\", \"-c\"]");
  if (words->empty()) throw error_at(place, "SHELL needs at least one word");
  return {std::move(*words)};
}

VolumeInstruction parse_volume(const RawInstruction& raw, const Place& place) {
  VolumeInstruction volume;
  auto words = json_words(raw.text, place);
  volume.paths = words ? std::move(*words) : split_blanks(raw.text);
  if (volume.paths.empty()) throw error_at(place, "VOLUME needs a path");
  for (const std::string& path : volume.paths)
    if (trim(path).empty()) throw error_at(place, "VOLUME: a path is empty");
  return volume;
}

OnbuildInstruction parse_onbuild(const RawInstruction& raw, char escape, const Place& place) {
  if (raw.text.empty()) throw error_at(place, "ONBUILD needs an instruction");
  std::string keyword = split_instruction(raw.text, escape, place).keyword;
  if (keyword == "ONBUILD" || keyword == "FROM" || keyword == "MAINTAINER")
    throw error_at(place, "ONBUILD can't trigger {}", keyword);
  OnbuildInstruction onbuild{raw.text};
  for (const Heredoc& heredoc : raw.heredocs) onbuild.trigger += "\n" + heredoc.body + heredoc.name;
  parse_instruction(onbuild.trigger, escape,
                    place);  // an error now, not in the image that is built from this one
  return onbuild;
}

AnyInstruction parse_any(const RawInstruction& raw, char escape, const Place& place) {
  const std::string& keyword = raw.keyword;
  if (keyword == "RUN") return parse_run(raw, place);
  if (keyword == "COPY" || keyword == "ADD") return parse_copy(raw, place);
  if (keyword == "HEALTHCHECK") return parse_healthcheck(raw, place);
  Flags(raw, place).finish();
  if (keyword == "ARG") return parse_arg(raw, escape, place);
  if (keyword == "ENV") return EnvInstruction{pairs(raw.text, escape, place, keyword)};
  if (keyword == "LABEL") return LabelInstruction{pairs(raw.text, escape, place, keyword)};
  if (keyword == "MAINTAINER") return MaintainerInstruction{one_word(raw, place, "a name")};
  if (keyword == "WORKDIR") return WorkdirInstruction{one_word(raw, place, "a path")};
  if (keyword == "USER") return UserInstruction{one_word(raw, place, "a user")};
  if (keyword == "STOPSIGNAL") return StopSignalInstruction{one_word(raw, place, "a signal")};
  if (keyword == "EXPOSE") {
    one_word(raw, place, "a port");
    return ExposeInstruction{split_blanks(raw.text)};
  }
  if (keyword == "VOLUME") return parse_volume(raw, place);
  if (keyword == "SHELL") return parse_shell(raw, place);
  if (keyword == "CMD") return CmdInstruction{parse_command(raw, raw.text, place)};
  if (keyword == "ENTRYPOINT") return EntrypointInstruction{parse_command(raw, raw.text, place)};
  if (keyword == "ONBUILD") return parse_onbuild(raw, escape, place);
  Error error = error_at(place, "unknown instruction '{}'", printable(keyword));
  if (std::string near = nearest(keyword, keywords()); !near.empty()) error.hint("did you mean {}?", near);
  throw error;
}

bool is_stage_name(const std::string& name) {
  return !name.empty() && name[0] >= 'a' && name[0] <= 'z' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
         });
}

Stage parse_from(const RawInstruction& raw, const Place& place) {
  Flags flags(raw, place);
  Stage stage{.place = place, .base = {}};
  stage.platform = flags.text("platform").value_or("");
  flags.finish();
  std::vector<std::string> words = split_blanks(raw.text);
  if (words.size() == 3 && lower(words[1]) == "as") {
    stage.name = lower(words[2]);
    if (!is_stage_name(stage.name))
      throw error_at(
          place,
          "invalid stage name '{}': it begins with a letter, and has only letters, digits, '-', '_' and '.'",
          printable(words[2]));
  } else if (words.size() != 1) {
    throw error_at(place, "FROM takes an image, or an image and AS NAME");
  }
  stage.base = words[0];
  return stage;
}

Instruction typed(const RawInstruction& raw, char escape, const Place& place) {
  return {place, raw.keyword, shown(raw), parse_any(raw, escape, place)};
}

}  // namespace

Dockerfile parse_dockerfile(std::string_view text, const std::string& file) {
  LexedDockerfile lexed = lex_dockerfile(text, file);
  Dockerfile result;
  result.escape = lexed.escape;
  result.notes = std::move(lexed.notes);
  for (const RawInstruction& raw : lexed.instructions) {
    Place place{file, raw.line};
    if (raw.keyword == "FROM") {
      result.stages.push_back(parse_from(raw, place));
      continue;
    }
    Instruction instruction = typed(raw, lexed.escape, place);
    if (!result.stages.empty())
      result.stages.back().instructions.push_back(std::move(instruction));
    else if (auto* arg = std::get_if<ArgInstruction>(&instruction.what))
      result.global_args.emplace_back(place, std::move(*arg));
    else
      throw error_at(place, "{} before the first FROM: only ARG may stand there", raw.keyword);
  }
  if (result.stages.empty()) throw Error("cannot build from '{}': it has no FROM", file);
  return result;
}

Instruction parse_instruction(std::string_view text, char escape, const Place& place) {
  LexedDockerfile lexed =
      lex_dockerfile(escape == '\\' ? std::string(text) : "# escape=`\n" + std::string(text), place.file);
  if (lexed.instructions.size() != 1) throw error_at(place, "'{}' is not one instruction", printable(text));
  return typed(lexed.instructions[0], escape, place);
}

}  // namespace rayctl::oci
