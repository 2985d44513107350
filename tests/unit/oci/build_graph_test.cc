#include "oci/build_graph.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

const Platform amd64{.os = "linux", .architecture = "amd64", .variant = "v3"};

BuildGraph plan(std::string_view text, Variables args = {}, std::optional<std::string> target = {}) {
  return plan_stages(parse_dockerfile(text, "Dockerfile"),
                     {.build_args = std::move(args), .target = std::move(target), .platform = amd64});
}

std::string error_of(std::string_view text, std::optional<std::string> target = {}) {
  try {
    plan(text, {}, std::move(target));
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

StageBase from_stage(size_t index) {
  return {StageBase::Kind::stage, index};
}
StageBase from_image(std::string name) {
  return {StageBase::Kind::image, 0, std::move(name)};
}

}  // namespace

TEST_CASE("stages that the target doesn't reach are not needed") {
  BuildGraph graph = plan(
      "FROM a AS one\nFROM b AS two\nRUN x\nFROM c AS three\nCOPY --from=0 /x /\nFROM Two AS four\nFROM "
      "scratch\n"
      "COPY --from=three / /\nCOPY --from=uv:latest /uv /bin/\n");
  CHECK(graph.needed == std::vector<size_t>{0, 2, 4});
  CHECK(graph.bases[0] == from_image("a"));
  CHECK(graph.bases[3] == from_stage(1));
  CHECK(graph.bases[4] == StageBase{});
  CHECK(plan("FROM a AS one\nFROM b\n", {}, "ONE").needed == std::vector<size_t>{0});
  CHECK(plan("FROM a AS one\nFROM b\n", {}, "0").target == 0);
}

TEST_CASE("a name means the latest earlier stage, or else an image") {
  BuildGraph graph = plan("FROM x AS x\nFROM x AS x\nFROM x\nFROM later\nFROM y AS later\n");
  CHECK(graph.bases[0] == from_image("x"));
  CHECK(graph.bases[1] == from_stage(0));
  CHECK(graph.bases[2] == from_stage(1));
  CHECK(graph.bases[3] == from_image("later"));
  CHECK(plan("FROM x AS a\nRUN --mount=from=busybox,target=/x y\nFROM z\nRUN --mount=from=a,target=/x y\n")
            .needed == std::vector<size_t>{0, 1});
}

TEST_CASE("ARGs before FROM chain, and build arguments override them") {
  std::string text =
      "ARG PY=3.11 X=-cpu\nARG FULL=rayproject/ray:nightly-py${PY}\"$X\"\nARG NONE\nFROM \"$FULL\"\n"
      "FROM --platform=$BUILDPLATFORM b:${NONE:-$TARGETARCH}\nFROM --platform=linux/amd64 c\nCOPY --from=0 a "
      "b\nCOPY --from=1 a b\n";
  BuildGraph graph = plan(text);
  CHECK(graph.bases[0] == from_image("rayproject/ray:nightly-py3.11-cpu"));
  CHECK(graph.bases[1] == from_image("b:amd64"));
  CHECK(graph.global_args["TARGETPLATFORM"] == "linux/amd64");
  CHECK(plan(text, {{"X", "-gpu"}, {"NONE", "n"}}).bases[0] ==
        from_image("rayproject/ray:nightly-py3.11-gpu"));
  CHECK(plan(text, {{"FULL", "f"}}).bases[0] == from_image("f"));
}

TEST_CASE("wrong stages are refused by place") {
  CHECK(error_of("FROM --platform=linux/arm64 x") ==
        "Dockerfile:1: FROM --platform=linux/arm64: this machine builds linux/amd64 alone");
  CHECK(error_of("FROM $NONE") == "Dockerfile:1: FROM $NONE: the name of the image is empty");
  CHECK(error_of("FROM ${X") == "Dockerfile:1: FROM: '${X' lacks a closing '}'");
  CHECK(error_of("FROM a\nCOPY --from=0 x y") ==
        "Dockerfile:2: --from=0: there are 0 stages before this one, counted from 0");
  CHECK(error_of("FROM a AS b\nCOPY --from=b x y") ==
        "Dockerfile:2: --from=b: that stage is not an earlier one");
  CHECK(error_of("FROM a\nCOPY --from=$b x y") ==
        "Dockerfile:2: --from='$b' can't hold a variable: name a stage with FROM … AS");
  CHECK(error_of("FROM a AS build", "biuld") == "no stage is called 'biuld' (did you mean build?)");
}

TEST_CASE("proxies are known by name in one case") {
  CHECK(is_proxy_variable("HTTP_PROXY"));
  CHECK(is_proxy_variable("no_proxy"));
  CHECK_FALSE(is_proxy_variable("Http_Proxy"));
  CHECK_FALSE(is_proxy_variable("PROXY"));
}
