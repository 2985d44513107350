#include "oci/image.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

const std::string digest_a = Digest::of("a").string(), digest_b = Digest::of("b").string();

std::string descriptor(std::string_view type, const std::string& digest, int size = 3) {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}}})", type, digest, size);
}

std::string manifest_text(std::string_view extra = "") {
  return fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]{}}})",
                     descriptor(media::oci_config, digest_a), descriptor(media::oci_layer_gzip, digest_b),
                     extra);
}

Descriptor entry(std::string os, std::string architecture, std::string variant = "") {
  return {.media_type = std::string(media::oci_manifest),
          .digest = Digest::of(os + architecture + variant),
          .size = 1,
          .platform = Platform{.os = os, .architecture = architecture, .variant = variant}};
}

}  // namespace

TEST_CASE("a manifest keeps every field through one byte form") {
  Manifest m = parse_manifest(
      manifest_text(fmt::format(R"(,"annotations":{{"k":"v"}},"artifactType":"t","subject":{})",
                                descriptor(media::oci_manifest, digest_b))),
      media::oci_manifest);
  CHECK(m.config.digest.string() == digest_a);
  CHECK(m.layers.at(0).size == 3);
  CHECK(m.subject->digest.string() == digest_b);
  CHECK(parse_manifest(to_json(m)) == m);
  CHECK(to_json(parse_manifest(to_json(m))) == to_json(m));
}

TEST_CASE("a document that could be read as two kinds is refused (CVE-2021-41190)") {
  CHECK_THROWS_WITH(parse_document(manifest_text(R"(,"manifests":[])"), ""), Catch::Contains("ambiguous"));
  CHECK_THROWS_WITH(parse_document(manifest_text(), media::oci_index),
                    Catch::Contains("does not fit a manifest"));
  CHECK_THROWS_WITH(parse_document(manifest_text(fmt::format(R"(,"mediaType":"{}")", media::oci_manifest)),
                                   media::docker_manifest),
                    Catch::Contains("contradicts the content type"));
  CHECK_THROWS_WITH(parse_document(R"({"schemaVersion":2,"mediaType":"x/y","manifests":[]})", ""),
                    Catch::Contains("does not fit an index"));
  CHECK_THROWS_WITH(parse_document(R"({"schemaVersion":2,"layers":[],"layers":[]})", ""),
                    Catch::Contains("appears twice"));
}

TEST_CASE("a manifest's errors name the place") {
  CHECK_THROWS_WITH(
      parse_manifest(R"({"config":{"mediaType":"x","digest":"sha256:../../x","size":1},"layers":[]})"),
      "manifest.config.digest: 'sha256:../../x' is not a digest");
  CHECK_THROWS_WITH(
      parse_manifest(fmt::format(R"({{"config":{},"layers":[]}})", descriptor("x", digest_a, -1))),
      "manifest.config.size: expected a whole number >= 0, found number");
  CHECK_THROWS_WITH(parse_manifest("{}"), "manifest: neither a manifest nor an index");
  CHECK_THROWS_WITH(parse_manifest("[]"), "manifest: expected an object");
  CHECK_THROWS_WITH(parse_manifest(R"({"schemaVersion":1,"fsLayers":[]})"), Catch::Contains("schema 1"));
  CHECK_THROWS_WITH(parse_manifest(R"({"schemaVersion":3,"layers":[]})"),
                    Catch::Contains("expected 2, found 3"));
  CHECK_THROWS_WITH(parse_manifest(R"({"manifests":[]})"), Catch::Contains("found an index"));
  std::string many = R"({"schemaVersion":2,"manifests":[)";
  for (int i = 0; i < 5000; ++i) many += (i ? "," : "") + descriptor(media::oci_manifest, digest_a);
  CHECK_THROWS_WITH(parse_document(many + "]}", ""), Catch::Contains("more than 4096"));
}

TEST_CASE("the platform is chosen exactly, or the nearest lower variant") {
  Index index{.manifests = {entry("unknown", "unknown"), entry("windows", "amd64"), entry("linux", "arm64"),
                            entry("linux", "amd64", "v3"), entry("linux", "amd64"),
                            entry("linux", "amd64", "v4"), entry("linux", "arm", "v6"),
                            entry("linux", "arm", "v7")}};
  auto chosen = [&](std::string_view machine) {
    return to_string(*choose(index, parse_platform(machine)).platform);
  };
  CHECK(chosen("linux/amd64/v3") == "linux/amd64/v3");
  CHECK(chosen("linux/amd64/v2") == "linux/amd64");
  CHECK(chosen("amd64") == "linux/amd64");
  CHECK(chosen("linux/amd64/v4") == "linux/amd64/v4");
  CHECK(chosen("linux/arm64/v8") == "linux/arm64");
  CHECK(chosen("arm64") == "linux/arm64");
  CHECK(chosen("linux/arm/v7") == "linux/arm/v7");
  CHECK(chosen("x86_64") == "linux/amd64");
  CHECK_THROWS_WITH(choose(index, parse_platform("linux/s390x")),
                    Catch::Contains("no image for linux/s390x: there is windows/amd64, linux/arm64"));
  CHECK_THROWS_WITH(parse_platform("linux/amd64/v1/x"), Catch::Contains("write for example linux/amd64"));
  CHECK_THROWS(parse_platform(""));
  CHECK_THROWS(parse_platform("../x"));
}

TEST_CASE("one entry without a platform is taken, attestations never are") {
  Descriptor plain{.media_type = std::string(media::oci_manifest), .digest = Digest::of("p"), .size = 1};
  Index index{.manifests = {entry("unknown", "unknown"), plain}};
  CHECK(choose(index, parse_platform("amd64")).digest == plain.digest);
  index.manifests.push_back(plain);
  CHECK_THROWS(choose(index, parse_platform("amd64")));
  CHECK_THROWS_WITH(choose(Index{}, parse_platform("amd64")), Catch::Contains("none at all"));
}

TEST_CASE("a config keeps docker's fields and unknown ones") {
  std::string text =
      R"({"architecture":"amd64","config":{"ArgsEscaped":true,"Cmd":["run","head"],)"
      R"("Entrypoint":["/e"],"Env":["PATH=/bin","A=1","A=2"],"ExposedPorts":{"6379/tcp":{}},)"
      R"("Healthcheck":{"Interval":5000000000,"Retries":3,"Test":["CMD-SHELL","true"]},)"
      R"("Labels":{"l":"v"},"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],"StopSignal":"SIGINT",)"
      R"("User":"ray","Volumes":{"/data":{}},"WorkingDir":"/home/ray"},)"
      R"("created":"2026-01-01T00:00:00Z","docker_version":"1.2",)"
      R"("history":[{"created_by":"x","empty_layer":true}],"os":"linux","rootfs":{"diff_ids":[")" +
      digest_a + R"("],"type":"layers"}})";
  ImageConfig c = parse_config(text);
  CHECK(c.user == "ray");
  CHECK(c.cmd == std::vector<std::string>{"run", "head"});
  CHECK(c.healthcheck->interval == 5'000'000'000);
  CHECK(c.on_build.size() == 1);
  CHECK(c.shell.size() == 2);
  CHECK(c.other.at("docker_version") == "\"1.2\"");
  CHECK(c.other_config.at("ArgsEscaped") == "true");
  CHECK(find_env(c, "A") == "2");
  CHECK_FALSE(find_env(c, "PAT"));
  CHECK(to_json(c) == text);
  CHECK(chain_ids(c) == std::vector<Digest>{Digest::parse(digest_a)});
}

TEST_CASE("null and absent members of a config are the same") {
  ImageConfig c = parse_config(
      R"({"os":"linux","config":{"Cmd":null,"Volumes":null,"Healthcheck":null},"rootfs":{"type":"layers","diff_ids":null}})");
  CHECK(c.cmd.empty());
  CHECK_FALSE(c.healthcheck);
  CHECK_THROWS_WITH(parse_config("{}"), "image config.rootfs: missing");
  CHECK_THROWS_WITH(parse_config(R"({"rootfs":{"type":"x"}})"), Catch::Contains("expected 'layers'"));
  CHECK_THROWS_WITH(parse_config(R"({"config":{"Env":[1]},"rootfs":{}})"),
                    "image config.config.Env[0]: expected a string, found number");
}

TEST_CASE("layers and diff ids must fit together") {
  Image image{.manifest = parse_manifest(manifest_text())};
  CHECK_THROWS_WITH(validate(image), "its manifest has 1 layers and its config 0 diff ids");
  image.config.diff_ids.push_back(Digest::of("d"));
  CHECK_NOTHROW(validate(image));
  image.manifest.layers[0].media_type = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
  CHECK_THROWS_WITH(validate(image), Catch::Contains("it is not a container image"));
}
