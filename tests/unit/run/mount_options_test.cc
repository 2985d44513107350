#include "run/mount_options.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl::run;

namespace {

MountOptions parse(const std::string& type, std::vector<std::string> options) {
  return parse_mount_options({.destination = "/d", .type = type, .options = std::move(options)});
}

}  // namespace

TEST_CASE("the last of two contrary mount options wins") {
  CHECK(parse("tmpfs", {"ro", "rw"}).set == 0);
  CHECK(parse("tmpfs", {"rw", "ro"}).set == MOUNT_ATTR_RDONLY);
  MountOptions times = parse("tmpfs", {"noatime", "strictatime"});
  CHECK(times.set == MOUNT_ATTR_STRICTATIME);
  CHECK(times.clear == MOUNT_ATTR__ATIME);
}

TEST_CASE("mount options are told apart") {
  MountOptions tmpfs =
      parse("tmpfs", {"nosuid", "defaults", "size=1m", "huge", "tmpcopyup", "rslave", "lazytime"});
  CHECK(tmpfs.set == MOUNT_ATTR_NOSUID);
  CHECK(tmpfs.copy_up);
  CHECK(tmpfs.propagation == MS_SLAVE);
  CHECK(tmpfs.recursive_propagation);
  using Data = decltype(tmpfs.data);
  CHECK(tmpfs.data == Data{{"size", "1m"}, {"huge", std::nullopt}, {"lazytime", std::nullopt}});
  MountOptions bind = parse("none", {"rbind", "rro", "nodev", "private"});
  CHECK((bind.bind && bind.recursive));
  CHECK(bind.recursive_set == MOUNT_ATTR_RDONLY);
  CHECK(bind.set == MOUNT_ATTR_NODEV);
  CHECK(bind.propagation == MS_PRIVATE);
  CHECK_FALSE(bind.recursive_propagation);
  CHECK(parse("bind", {}).bind);
}

TEST_CASE("mount options that can't be honoured are refused by name") {
  CHECK(
      parse("bind", {"size=1m"}).data.empty());  // as for mount(2): it changes nothing, and a warning says so
  CHECK_THROWS_WITH(parse("bind", {"idmap"}),
                    "cannot mount '/d': option 'idmap': id-mapped mounts are not supported");
  CHECK_THROWS_WITH(parse("tmpfs", {"ridmap=uids=0-0-1"}), Catch::Contains("not supported"));
  CHECK_THROWS_WITH(parse("proc", {"tmpcopyup"}), Catch::Contains("only a tmpfs can have it"));
}
