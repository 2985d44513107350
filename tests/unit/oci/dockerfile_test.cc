#include "oci/dockerfile.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

std::string error_of(std::string_view text) {
  try {
    Dockerfile parsed = parse_dockerfile(text, "Dockerfile");
    for (const Stage& stage : parsed.stages)
      for (const Instruction& instruction : stage.instructions) reject_unsupported(instruction);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

Dockerfile parse(std::string_view text) {
  return parse_dockerfile(text, "Dockerfile");
}

template <class T>
T only(std::string_view text) {
  Dockerfile parsed = parse("FROM scratch\n" + std::string(text));
  REQUIRE(parsed.stages.size() == 1);
  REQUIRE(parsed.stages[0].instructions.size() == 1);
  return std::get<T>(parsed.stages[0].instructions[0].what);
}

}  // namespace

TEST_CASE("continuations join, and comments inside them go") {
  auto run = only<RunInstruction>("RUN a \\\n  # First, install\n\n  b \\  \n  && c\n");
  CHECK(run.command.text == "a   b   && c");
  CHECK(only<RunInstruction>("RUN echo a\\\\\n").command.text == "echo a\\\\");
  CHECK(only<RunInstruction>("run \\\n --network=none \\\n echo").network == "none");
  CHECK(only<RunInstruction>("RUN a\\").command.text == "a");
  CHECK(parse("FROM x\nRUN a \\\n\n b\n").notes.size() == 1);
}

TEST_CASE("the escape directive moves continuation and escapes to `") {
  Dockerfile parsed = parse("# escape=`\nFROM scratch\nRUN a `\n b\\\nENV A=\"x`\"y\"\n");
  CHECK(parsed.escape == '`');
  CHECK(std::get<RunInstruction>(parsed.stages[0].instructions[0].what).command.text == "a  b\\");
  CHECK(std::get<EnvInstruction>(parsed.stages[0].instructions[1].what).pairs[0].value == "\"x`\"y\"");
}

TEST_CASE("a byte order mark, a #! line, CRLF and directives are taken at the top") {
  Dockerfile parsed =
      parse("\xEF\xBB\xBF#!/usr/bin/env x\n# syntax=docker/dockerfile:1.3-labs\r\nFROM scratch\r\nRUN a\r\n");
  CHECK(parsed.notes == std::vector<std::string>{
                            "Dockerfile:2: rayctl's own front end is used, not docker/dockerfile:1.3-labs"});
  CHECK(std::get<RunInstruction>(parsed.stages[0].instructions[0].what).command.text == "a");
  CHECK(parsed.stages[0].instructions[0].place.line == 4);
  CHECK(parse("# a comment\n# escape=`\nFROM scratch\n").escape == '\\');
}

TEST_CASE("heredocs: several, quoted, <<-, with flags and a continuation, nested in text") {
  auto run = only<RunInstruction>(
      "RUN \\\n --mount=type=cache,target=/x \\\n <<EOF\n#!/bin/sh\n$(python - <<'PY'\n1\nPY\n)\nEOF\n");
  REQUIRE(run.command.heredocs.size() == 1);
  CHECK(run.command.heredocs[0] == Heredoc{"EOF", "#!/bin/sh\n$(python - <<'PY'\n1\nPY\n)\n", true, false});
  CHECK(run.mounts[0].target == "/x");

  auto two = only<RunInstruction>("RUN 5<<A 6<<-\"B C\" cat\na\nA\n\tb\n\tB C\n");
  REQUIRE(two.command.heredocs.size() == 2);
  CHECK(two.command.heredocs[0] == Heredoc{"A", "a\n", true, false});
  CHECK(two.command.heredocs[1] == Heredoc{"B C", "\tb\n", false, true});
  CHECK(stripped_body(two.command.heredocs[1]) == "b\n");

  auto copy = only<CopyInstruction>("COPY <<one a <<'two' /d/\n1\none\n$2\ntwo\n");
  CHECK(copy.sources == std::vector<std::string>{"<<one", "a", "<<'two'"});
  CHECK(copy.files[1] == Heredoc{"two", "$2\n", false, false});
  CHECK(only<RunInstruction>("RUN echo \"<<EOF\" $((1<<3))").command.heredocs.empty());
  CHECK(only<OnbuildInstruction>("ONBUILD RUN <<E\nx\nE\n").trigger == "RUN <<E\nx\nE");
}

TEST_CASE("the JSON form is recognised, and what only looks like it is shell") {
  CHECK(only<CmdInstruction>("CMD [\"a\", \"b c\"]").command.argv == std::vector<std::string>{"a", "b c"});
  CHECK(only<RunInstruction>("RUN [ -f x ] && y").command.text == "[ -f x ] && y");
  CHECK(only<CopyInstruction>("COPY [\"a b\", \"/c d\"]").destination == "/c d");
  CHECK(error_of("FROM scratch\nCMD [1]") == "Dockerfile:2: a JSON array here may hold only strings: [1]");
}

TEST_CASE("a comment may follow the JSON form") {
  auto command = [](const std::string& line) {
    Dockerfile file = parse_dockerfile("FROM a\n" + line + "\n", "D");
    return std::get<CmdInstruction>(file.stages[0].instructions[0].what).command;
  };
  CHECK(command(R"(CMD ["a", "]\"#"]  # why)").argv == std::vector<std::string>{"a", "]\"#"});
  CHECK(command(R"(CMD [ "$a" ] && b)").text == R"([ "$a" ] && b)");
  CHECK(command(R"(CMD ["a")").text == R"(["a")");
}

TEST_CASE("ENV and LABEL take both forms") {
  CHECK(only<EnvInstruction>("ENV A=b C=\"d e\" F=g\\ h").pairs ==
        std::vector<KeyValue>{{"A", "b"}, {"C", "\"d e\""}, {"F", "g\\ h"}});
  CHECK(only<EnvInstruction>("ENV PATH \"/home/ray/bin:$PATH\"  ").pairs ==
        std::vector<KeyValue>{{"PATH", "\"/home/ray/bin:$PATH\""}});
  CHECK(only<LabelInstruction>("LABEL a b c").pairs == std::vector<KeyValue>{{"a", "b c"}});
  CHECK(error_of("FROM scratch\nENV A=b c") ==
        "Dockerfile:2: ENV: 'c' is no NAME=VALUE (quote a value that has blanks)");
  CHECK(error_of("FROM scratch\nENV A") == "Dockerfile:2: ENV 'A' has no value: write NAME=VALUE");
}

TEST_CASE("stages have names and platforms; only ARG stands before the first") {
  Dockerfile parsed = parse("ARG A=1 B\nFROM --platform=$X \"$A\" as Build.1\nFROM build.1\n");
  CHECK(parsed.global_args[0].second.declarations[1].name == "B");
  CHECK(parsed.stages[0].name == "build.1");
  CHECK(parsed.stages[0].platform == "$X");
  CHECK(parsed.stages[0].base == "\"$A\"");
  CHECK(error_of("RUN x\nFROM y") == "Dockerfile:1: RUN before the first FROM: only ARG may stand there");
  CHECK(error_of("FROM a b") == "Dockerfile:1: FROM takes an image, or an image and AS NAME");
  CHECK(error_of("FROM a AS 1x") ==
        "Dockerfile:1: invalid stage name '1x': it begins with a letter, and has only letters, digits, '-', "
        "'_' and '.'");
}

TEST_CASE("HEALTHCHECK has Go's durations") {
  auto check =
      only<HealthcheckInstruction>("HEALTHCHECK --interval=1m30s --timeout=0.5s --retries=3 CMD curl -f x");
  CHECK(check.interval == std::chrono::seconds(90));
  CHECK(check.timeout == std::chrono::milliseconds(500));
  CHECK(check.retries == 3);
  CHECK(check.command.text == "curl -f x");
  CHECK(only<HealthcheckInstruction>("HEALTHCHECK NONE").none);
  CHECK(error_of("FROM scratch\nHEALTHCHECK --interval=1ns CMD x") ==
        "Dockerfile:2: HEALTHCHECK --interval: '1ns' is less than 1ms");
  CHECK(error_of("FROM scratch\nHEALTHCHECK --interval=1 CMD x") ==
        "Dockerfile:2: HEALTHCHECK --interval: '1' is no duration such as 1m30s");
}

TEST_CASE("wrong Dockerfiles are refused by place and name") {
  auto of = [](std::string_view line) { return error_of("FROM scratch\n" + std::string(line)); };
  CHECK(error_of("") == "cannot build from 'Dockerfile': it has no instructions");
  CHECK(error_of("ARG a") == "cannot build from 'Dockerfile': it has no FROM");
  CHECK(error_of(std::string_view("FROM a\0b", 8)) ==
        "cannot build from 'Dockerfile': it holds a NUL byte, so it is no text");
  CHECK(of("RUNN x") == "Dockerfile:2: unknown instruction 'RUNN' (did you mean RUN?)");
  CHECK(of("RUN") == "Dockerfile:2: RUN needs a command");
  CHECK(of("RUN <<EOF\nx\n") == "Dockerfile:2: the heredoc <<EOF is not closed by a line 'EOF'");
  CHECK(of("COPY a") == "Dockerfile:2: COPY needs at least one source and a destination");
  CHECK(of("COPY --chwon=x a b") == "Dockerfile:2: COPY has no flag --chwon (did you mean --chown?)");
  CHECK(of("COPY --chown a b") == "Dockerfile:2: COPY: --chown needs a value: --chown=…");
  CHECK(of("COPY --chown=a --chown=b a b") == "Dockerfile:2: COPY: --chown is given twice");
  CHECK(of("COPY --link=maybe a b") == "Dockerfile:2: COPY: --link is true or false, not 'maybe'");
  CHECK(of("ADD --from=x a b") == "Dockerfile:2: ADD has no flag --from");
  CHECK(of("WORKDIR") == "Dockerfile:2: WORKDIR needs a path");
  CHECK(of("SHELL bash") == "Dockerfile:2: SHELL takes the JSON form alone: SHELL [\"/bin/bash\", \"-c\"]");
  CHECK(of("ONBUILD FROM x") == "Dockerfile:2: ONBUILD can't trigger FROM");
  CHECK(of("ONBUILD COPY a") == "Dockerfile:2: COPY needs at least one source and a destination");
  CHECK(of("RUN --network=lan x") == "Dockerfile:2: RUN --network is default, none or host, not 'lan'");
  CHECK(of("RUN --mount=type=cash,target=/x y") == "Dockerfile:2: RUN --mount: unknown type 'cash'");
  CHECK(of("RUN --mount=type=tmpfs,target=/x,from=y z") ==
        "Dockerfile:2: RUN --mount=type=tmpfs has no key 'from'");
  CHECK(of("RUN --mount=type=cache y") == "Dockerfile:2: RUN --mount=type=cache needs target=");
  CHECK(of("RUN --mount=from=$x,target=/y z") ==
        "Dockerfile:2: RUN --mount: from='$x' can't hold a variable: name a stage with FROM … AS");
  CHECK(error_of("# escape=x\nFROM a") == "Dockerfile:1: invalid escape directive 'x': it must be \\ or `");
  CHECK(error_of("# escape=`\n# escape=`\nFROM a") == "Dockerfile:2: only one escape directive can be used");
}
