#include "oci/build_state.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

// Applies the instructions of one stage.
struct Stage1 {
  explicit Stage1(std::string_view text, ImageConfig base = {}, Variables build = {}, Variables global = {})
      : build_args(std::move(build)),
        global_args(std::move(global)),
        state(std::move(base), build_args, global_args, '\\') {
    Dockerfile parsed = parse_dockerfile("FROM scratch\n" + std::string(text), "Dockerfile");
    for (const Instruction& instruction : parsed.stages[0].instructions)
      effects.push_back(state.apply(instruction));
  }
  ImageConfig& config() { return state.config(); }
  template <class T>
  T last() {
    return std::get<T>(effects.back().action);
  }
  std::string created_by() { return effects.back().created_by; }

  Variables build_args, global_args;
  StageState state;
  std::vector<Effect> effects;
};

std::string error_of(std::string_view text) {
  try {
    Stage1 stage(text);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

}  // namespace

TEST_CASE("one instruction sees the variables as they were before it") {
  Stage1 s("ENV a=x\nENV a=y b=$a c=${b:-none}\nENV d=$a$b");
  CHECK(find_env(s.config(), "b") == "x");
  CHECK(find_env(s.config(), "c") == "none");
  CHECK(find_env(s.config(), "d") == "yx");
  CHECK(s.created_by() == "ENV d=yx");
  CHECK(s.config().env[0] == std::string("PATH=") + default_path);
}

TEST_CASE("ENV refers to itself and keeps its place") {
  ImageConfig base;
  base.env = {"PATH=/bin", "A=1"};
  Stage1 s("ENV PATH \"/home/ray/bin:$PATH\"", base);
  CHECK(s.config().env == std::vector<std::string>{"PATH=/home/ray/bin:/bin", "A=1"});
}

TEST_CASE("ENV beats ARG; build arguments beat defaults; globals need a declaration") {
  Variables global = {{"G", "global"}, {"TARGETARCH", "amd64"}};
  Stage1 s("ARG A=1\nENV A=2\nARG A=3\nARG G\nARG D=d$A\nARG N\nRUN x", {}, {{"D", "given"}}, global);
  auto run = s.last<RunAction>();
  CHECK(run.argv == std::vector<std::string>{"/bin/sh", "-c", "x"});
  auto has = [&](const std::string& e) {
    return std::find(run.env.begin(), run.env.end(), e) != run.env.end();
  };
  CHECK(has("A=2"));
  CHECK_FALSE(has("A=3"));
  CHECK(has("G=global"));
  CHECK(has("D=given"));
  CHECK(s.created_by() == "RUN |3 A=3 G=global D=given /bin/sh -c x");
  CHECK(s.state.used_args() == std::set<std::string>{"D"});
  CHECK(Stage1("ENV X=$TARGETARCH", {}, {}, global).config().env[1] == "X=");
  CHECK(Stage1("ARG G=stage\nENV X=$G", {}, {}, global).config().env[1] == "X=stage");
}

TEST_CASE("proxies expand undeclared, and are recorded nowhere") {
  Stage1 s("ARG HTTP_PROXY\nENV P=$https_proxy\nRUN x", {},
           {{"HTTP_PROXY", "http://u:p@h"}, {"https_proxy", "z"}});
  CHECK(find_env(s.config(), "P") == "z");
  CHECK(s.created_by() == "RUN /bin/sh -c x");
  for (const std::string& entry : s.last<RunAction>().env) CHECK(entry.find("u:p") == std::string::npos);
}

TEST_CASE("RUN has a shell form, an exec form, and three heredoc forms") {
  CHECK(Stage1("RUN [\"a\", \"$b\"]").last<RunAction>().argv == std::vector<std::string>{"a", "$b"});
  CHECK(Stage1("SHELL [\"/bin/bash\",\"-ice\"]\nRUN x $y").last<RunAction>().argv ==
        std::vector<std::string>{"/bin/bash", "-ice", "x $y"});
  auto script = Stage1("RUN <<EOF\n#!/bin/bash\nset -e\nEOF").last<RunAction>();
  CHECK(script.argv == std::vector<std::string>{"/dev/pipes/EOF"});
  CHECK(script.script == "#!/bin/bash\nset -e\n");
  CHECK(Stage1("RUN <<-EOF\n\ta\n\tb\nEOF").last<RunAction>().argv.back() == "a\nb\n");
  CHECK(Stage1("RUN 5<<A 6<<-B cat\n1\nA\n\t2\nB").last<RunAction>().argv.back() ==
        "5<<A 6<<-B cat\n1\nA\n\t2\nB");
}

TEST_CASE("WORKDIR is relative to the one before; USER goes with RUN") {
  Stage1 s("ENV H=/home/ray\nWORKDIR $H\nUSER ray:$H\nWORKDIR a/../b\nRUN x");
  CHECK(s.config().workdir == "/home/ray/b");
  CHECK(s.last<RunAction>().cwd == "/home/ray/b");
  CHECK(s.last<RunAction>().user == "ray:/home/ray");
  CHECK(Stage1("WORKDIR a").config().workdir == "/a");
}

TEST_CASE("ENTRYPOINT drops an inherited CMD, not the stage's own") {
  ImageConfig base;
  base.cmd = {"old"};
  CHECK(Stage1("ENTRYPOINT [\"e\"]", base).config().cmd.empty());
  CHECK(Stage1("CMD c\nENTRYPOINT [\"e\"]", base).config().cmd ==
        std::vector<std::string>{"/bin/sh", "-c", "c"});
}

TEST_CASE("metadata lands in the configuration") {
  Stage1 s(
      "ENV P=8000\nEXPOSE $P-8002 53/UDP\nLABEL a=\"$P x\" b=c\nVOLUME [\"/v w\"]\nSTOPSIGNAL SIGRTMIN+3\n"
      "MAINTAINER me <me@x>\nHEALTHCHECK --retries=2 CMD curl x\nONBUILD RUN $P\n");
  ImageConfig& c = s.config();
  CHECK(c.exposed_ports == std::set<std::string>{"8000/tcp", "8001/tcp", "8002/tcp", "53/udp"});
  CHECK(c.labels == std::map<std::string, std::string>{{"a", "8000 x"}, {"b", "c"}});
  CHECK(c.volumes == std::set<std::string>{"/v w"});
  CHECK(c.stop_signal == "SIGRTMIN+3");
  CHECK(c.author == "me <me@x>");
  CHECK(c.healthcheck->test == std::vector<std::string>{"CMD-SHELL", "curl x"});
  CHECK(c.on_build == std::vector<std::string>{"RUN $P"});
}

TEST_CASE("COPY expands its words, not its quoted heredocs") {
  Stage1 s(
      "ENV D=d U=ray\nWORKDIR /w\nCOPY --chown=$U:users --chmod=u=rwX $D/* <<A <<'B' ./x/\n$U "
      "\"$D\"\nA\n$U\nB\n");
  auto copy = s.last<CopyAction>();
  CHECK(copy.chown == "ray:users");
  CHECK(copy.destination == "/w/x/");
  CHECK(copy.sources[0].path == "d/*");
  CHECK(copy.sources[1].content == "ray \"d\"\n");
  CHECK(copy.sources[2].content == "$U\n");
  CHECK(s.created_by() == "COPY --chown=ray:users --chmod=u=rwX d/* <<A <<B ./x/");
  CHECK(Stage1("COPY a .").last<CopyAction>().destination == "/");
  CHECK(Stage1("WORKDIR /w\nCOPY a ..").last<CopyAction>().destination == "/");
  CHECK(Stage1("WORKDIR /w\nCOPY a b").last<CopyAction>().destination == "/w/b");
  CHECK(Stage1("ADD a b").last<CopyAction>().unpack);
  CHECK_FALSE(Stage1("ADD --unpack=false a b").last<CopyAction>().unpack);
}

TEST_CASE("values that make no sense are refused by place") {
  CHECK(error_of("EXPOSE 70000") ==
        "Dockerfile:2: EXPOSE: '70000' is no port (1-65535, a range, /tcp, /udp or /sctp)");
  CHECK(error_of("EXPOSE 80/icmp").find("is no port") != std::string::npos);
  CHECK(error_of("EXPOSE 20-10").find("is no port") != std::string::npos);
  CHECK(error_of("STOPSIGNAL SIGWHAT") == "Dockerfile:2: STOPSIGNAL: 'SIGWHAT' is no signal");
  CHECK(error_of("USER $none") == "Dockerfile:2: USER: the name is empty");
  CHECK(error_of("WORKDIR $none") == "Dockerfile:2: WORKDIR: the path is empty");
  CHECK(error_of("COPY $none /x") == "Dockerfile:2: COPY: the source '$none' is empty");
  CHECK(error_of("COPY --chown=$none a /x") == "Dockerfile:2: COPY --chown=$none: the owner is empty");
  CHECK(error_of("ENV A=${b:?missing}") == "Dockerfile:2: b: missing");
}
