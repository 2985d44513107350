// Whole specs: each tests/golden/stitch/NAME.spec gives NAME.json, or the error in NAME.error.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "stitch/draw.h"
#include "stitch/source.h"
#include "stitch/stitch.h"

using namespace rayctl;
using namespace rayctl::stitch;

namespace {

const std::string directory = "tests/golden/stitch/";

void check_golden(const std::string& name, const std::string& text) {
  INFO(name);
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(directory + name, text);
  CHECK(read_file(directory + name) == text);
}

Options options() {
  Options made;
  made.path = {directory + "path"};
  made.log = [](Level, const std::string&) {};
  return made;
}

}  // namespace

TEST_CASE("specs evaluate as their golden files say", "[stitch][golden]") {
  size_t count = 0;
  for (const std::string& name : list_directory(directory)) {
    if (!name.ends_with(".spec")) continue;
    ++count;
    std::string base = name.substr(0, name.size() - 5);
    try {
      Deployment deployment = load_deployment(directory + name, options());
      check_golden(base + ".json", to_json(deployment).dump(1) + "\n");
      // The JSON stands for the spec.
      CHECK(to_json(load_deployment(directory + base + ".json", options())) == to_json(deployment));
    } catch (const Error& e) {
      check_golden(base + ".error", e.message() + "\n");
    }
  }
  CHECK(count >= 8);
}

TEST_CASE("the graph is drawn in four ways", "[stitch][golden]") {
  Deployment deployment = load_deployment(directory + "web.spec", options());
  check_golden("web.txt", draw_text(deployment));
  check_golden("web.utf8", draw_terminal(deployment, Charset::utf8));
  check_golden("web.ascii", draw_terminal(deployment, Charset::ascii));
  check_golden("web.dot", draw_dot(deployment));
  check_golden("web.svg", draw_svg(deployment));
}

TEST_CASE("the specs that are handed out are as the guide says", "[stitch][golden]") {
  auto text = [](const std::string& path) {
    for (const BuiltinSpec& spec : builtin_specs())
      if (spec.path == path) return std::string(spec.text);
    return std::string();
  };
  auto line = [](std::string text, int number) {
    for (; number > 1; --number) text.erase(0, text.find('\n') + 1);
    return text.substr(0, text.find('\n'));
  };
  std::string ray = text("specs/ray.spec"), runner = text("specs/ray-runner.spec");
  CHECK(line(ray, 1) == "(import \"github.com/NetSys/quilt/specs/stdlib/strings\")");
  CHECK(line(ray, 4).rfind("(define image \"", 0) == 0);
  CHECK(line(runner, 11) == "(define Namespace \"CHANGE_ME\")");
  CHECK(line(runner, 24) == "(define githubKey \"YOUR_GITHUB_USERNAME\")");

  auto replaced = [](std::string in, const std::string& from, const std::string& to) {
    size_t at = in.find(from);
    REQUIRE(at != std::string::npos);
    return in.replace(at, from.size(), to);
  };
  std::string filled = replaced(runner, "CHANGE_ME", "mine");
  CHECK_THROWS_AS(evaluate(filled, "ray-runner.spec", options()), SpecError);
  std::string github = replaced(filled, "YOUR_GITHUB_USERNAME", "me");
  CHECK(evaluate(github, "ray-runner.spec", options()).machines.at(1).github_keys ==
        std::vector<std::string>{"me"});
  // Either key is enough, defined in that line as the guide says.
  std::string ssh =
      replaced(filled, "(define githubKey \"YOUR_GITHUB_USERNAME\")", "(define sshkey \"ssh-rsa AAAA me\")");
  Deployment deployment = evaluate(ssh, "ray-runner.spec", options());
  CHECK(deployment.machines.at(0).ssh_keys == std::vector<std::string>{"ssh-rsa AAAA me"});
  CHECK(deployment.machines.at(0).github_keys.empty());
}

TEST_CASE("a file on the path wins over a built-in spec", "[stitch]") {
  TempDir temporary;
  std::string library = temporary.path() + "/github.com/NetSys/quilt/specs/stdlib";
  make_directories(library);
  replace_file(library + "/strings.spec", "(define (Itoa x) \"mine\")");
  Options made = options();
  made.path = {temporary.path()};
  std::string text = "(import \"github.com/NetSys/quilt/specs/stdlib/strings\") (docker (strings.Itoa 1))";
  CHECK(evaluate(text, "t.spec", made).containers[0].image == "mine");
  made.path = {};
  CHECK(evaluate(text, "t.spec", made).containers[0].image == "1");
  // Beside the importing file, and cycles.
  replace_file(temporary.path() + "/a.spec", "(import \"b\")");
  replace_file(temporary.path() + "/b.spec", "(import \"a\")");
  try {
    load_deployment(temporary.path() + "/a.spec", made);
    FAIL("no error");
  } catch (const Error& e) {
    CHECK_THAT(e.message(),
               Catch::Matchers::Contains("b.spec:1:9: import cycle: " + temporary.path() + "/a.spec -> " +
                                         temporary.path() + "/b.spec -> " + temporary.path() + "/a.spec"));
  }
  CHECK(imports_of("(import \"x/y\") (import \"z\") (docker \"a\") (import \"no\")", "t") ==
        std::vector<std::string>{"x/y", "z"});
}

TEST_CASE("a missing file says which is meant", "[stitch]") {
  CHECK_THROWS_WITH(load_deployment(directory + "web", options()),
                    Catch::Matchers::Contains("did you mean 'tests/golden/stitch/web.spec'?"));
}
