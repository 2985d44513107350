#include "cloud/aws_credentials.h"

#include <catch2/catch.hpp>

#include "base/file.h"
#include "cloud/provider.h"

using namespace rayctl;
using namespace rayctl::cloud;

TEST_CASE("INI files are read as Amazon's tools read them") {
  Ini ini = parse_ini(
      "# comment\n[default]\naws_access_key_id = AKID ; mine\n AWS_NESTED = no\ns3 =\n  max = 10\n"
      "[profile  \"two words\"]\r\nRegion=eu-west-1\r\n; another\n[default]\naws_secret_access_key=a=b#c\n",
      "f");
  CHECK(ini["default"]["aws_access_key_id"] == "AKID");
  CHECK(ini["default"]["aws_secret_access_key"] == "a=b#c");
  CHECK(ini["default"].count("aws_nested") == 0);
  CHECK(ini["default"].count("max") == 0);
  CHECK(ini["profile two words"]["region"] == "eu-west-1");
  CHECK_THROWS_WITH(parse_ini("[a\n", "f"), "f:1: the section's ']' is missing");
  CHECK_THROWS_WITH(parse_ini("[a]\nkey\n", "f"), "f:2: expected KEY = VALUE");
  CHECK_THROWS_WITH(parse_ini("key = 1\n", "f"), "f:1: a key before the first [section]");
}

TEST_CASE("a profile is the two files together, keys of credentials first") {
  const char* credentials =
      "[default]\naws_access_key_id=A\naws_secret_access_key=B\n[half]\naws_access_key_id=A\n";
  const char* config =
      "[default]\nregion=us-west-2\naws_access_key_id=X\n[profile sso]\nsso_session=s\n[profile "
      "role]\nrole_arn=arn\n"
      "[profile proc]\ncredential_process=/bin/x\n[other]\nregion=r\n";
  AwsProfile profile = aws_profile(credentials, config, "default");
  CHECK(profile_keys(profile)->access_key == "A");
  CHECK(profile.keys["region"] == "us-west-2");
  CHECK(unsupported_profile(profile).empty());
  CHECK_FALSE(aws_profile(credentials, config, "other").found);  // config wants [profile other]
  CHECK_THROWS_WITH(
      profile_keys(aws_profile(credentials, config, "half")),
      "cannot use profile 'half' of Amazon: it has no aws_secret_access_key (type: aws configure "
      "--profile half)");
  CHECK(unsupported_profile(aws_profile(credentials, config, "sso")) ==
        "signs in through IAM Identity Center (SSO), which rayctl leaves to Amazon's own tool");
  CHECK(unsupported_profile(aws_profile(credentials, config, "role")) ==
        "assumes a role, which rayctl leaves to Amazon's own tool");
  CHECK_FALSE(profile_keys(aws_profile(credentials, config, "proc")));
}

TEST_CASE("documents with credentials are checked") {
  auto read = [](const char* text, CredentialDocument kind) {
    return parse_aws_credentials(text, kind, "doc");
  };
  auto found = read(
      R"({"Version":1,"AccessKeyId":"A","SecretAccessKey":"B","SessionToken":"T","Expiration":"2030-01-01T00:00:00Z"})",
      CredentialDocument::process);
  CHECK(found.session_token == "T");
  CHECK(std::chrono::system_clock::to_time_t(*found.expires) == 1893456000);
  CHECK(read(R"({"Code":"Success","AccessKeyId":"A","SecretAccessKey":"B","Token":"T"})",
             CredentialDocument::imds)
            .session_token == "T");
  CHECK_THROWS_WITH(
      read(R"({"Version":2,"AccessKeyId":"A","SecretAccessKey":"B"})", CredentialDocument::process),
      "doc: only Version 1 is known, not 2");
  CHECK_THROWS_WITH(read(R"({"AccessKeyId":"A"})", CredentialDocument::container),
                    "doc.SecretAccessKey: missing");
  CHECK_THROWS_WITH(read(R"({"Code":"Failed","Message":"no role"})", CredentialDocument::imds),
                    "doc: no role");
  CHECK_THROWS_WITH(
      read(R"({"AccessKeyId":"A","SecretAccessKey":"B","Expiration":"soon"})", CredentialDocument::container),
      "doc: Expiration 'soon' is no time");
}

TEST_CASE("a credential process is split into words without a shell") {
  using Words = std::vector<std::string>;
  CHECK(split_command("/bin/x  -a 'b c' \"d \\\" e\"f g\\ h") ==
        Words{"/bin/x", "-a", "b c", "d \" ef", "g h"});
  CHECK(split_command("").empty());
  CHECK(split_command("a ''") == Words{"a", ""});
  CHECK(split_command("$(x); y") == Words{"$(x);", "y"});
  CHECK_THROWS_AS(split_command("'a"), Error);
}

namespace {

// Sets variables for one test, and nothing else of Amazon's is seen.
class Variables {
 public:
  Variables(const Variables&) = delete;
  Variables() : Variables(std::map<std::string, std::string>{}) {}
  explicit Variables(std::map<std::string, std::string> set) {
    for (const char* name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                             "AWS_DEFAULT_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_REGION",
                             "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_DEFAULT_REGION"})
      unsetenv(name);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", (dir_.path() + "/credentials").c_str(), 1);
    setenv("AWS_CONFIG_FILE", (dir_.path() + "/config").c_str(), 1);
    for (const auto& [name, value] : set) setenv(name.c_str(), value.c_str(), 1);
  }
  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
};

}  // namespace

TEST_CASE("the chain says where it looked, and takes the first that has credentials") {
  {
    Variables none;
    CHECK_THROWS_WITH(
        AwsCredentialChain(nullptr).current(),
        "cannot find credentials of Amazon: looked at AWS_ACCESS_KEY_ID (not set); profile 'default' in " +
            none.path() + "/credentials and " + none.path() +
            "/config; AWS_CONTAINER_CREDENTIALS_FULL_URI (not set); the metadata service "
            "(AWS_EC2_METADATA_DISABLED) "
            "(type: aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)");
  }
  {
    Variables files(std::map<std::string, std::string>{{"AWS_PROFILE", "work"}});
    CHECK_THROWS_WITH(AwsCredentialChain(nullptr).current(),
                      Catch::Contains("cannot find profile 'work' in"));
    replace_file(files.path() + "/credentials", "[work]\naws_access_key_id=A\naws_secret_access_key=B\n",
                 0600);
    replace_file(files.path() + "/config", "[profile work]\nregion=eu-west-3\n", 0600);
    AwsCredentialChain chain(nullptr);
    CHECK(chain.current().access_key == "A");
    CHECK(chain.region() == "eu-west-3");
    replace_file(
        files.path() + "/config",
        "[profile work]\ncredential_process=sh -c 'echo \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"P\\\","
        "\\\"SecretAccessKey\\\":\\\"S\\\",\\\"Expiration\\\":\\\"2020-01-01T00:00:00Z\\\"}\"'\n",
        0600);
    replace_file(files.path() + "/credentials", "", 0600);
    CHECK(AwsCredentialChain(nullptr).current().access_key == "P");
    replace_file(files.path() + "/config", "[profile work]\ncredential_process=sh -c 'echo no >&2; exit 3'\n",
                 0600);
    CHECK_THROWS_WITH(
        AwsCredentialChain(nullptr).current(),
        "cannot get credentials from the credential_process of profile 'work': 'sh' ended with exit code 3: "
        "no (type that command by hand)");
    replace_file(files.path() + "/config", "[profile work]\nsso_session=x\n", 0600);
    CHECK_THROWS_WITH(AwsCredentialChain(nullptr).current(),
                      Catch::Contains("signs in through IAM Identity Center (SSO)") &&
                          Catch::Contains("aws configure export-credentials --profile work --format env"));
  }
  {
    Variables keys(std::map<std::string, std::string>{{"AWS_ACCESS_KEY_ID", "E"}});
    CHECK_THROWS_WITH(AwsCredentialChain(nullptr).current(),
                      Catch::Contains("AWS_SECRET_ACCESS_KEY is not set"));
    setenv("AWS_SECRET_ACCESS_KEY", "F", 1);
    CHECK(AwsCredentialChain(nullptr).current().source == "AWS_ACCESS_KEY_ID");
  }
  {
    Variables clear(
        std::map<std::string, std::string>{{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://198.51.100.1/x"}});
    CHECK_THROWS_WITH(AwsCredentialChain(nullptr).current(),
                      Catch::Contains("that would be in clear over the network"));
  }
  Variables none;
}
