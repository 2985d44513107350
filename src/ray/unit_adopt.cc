#include "ray/unit_adopt.h"

#include <fmt/ranges.h>

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "net/netns.h"
#include "oci/store.h"

namespace rayctl::ray {

std::string telling_lines(const std::string& log) {
  std::vector<std::string> kept;
  for (const std::string& line : split(log, '\n'))
    if (!line.empty() && line[0] != ' ' && line[0] != '\t' &&
        line.find("[state-dump]") == std::string::npos && line.find(" I ") == std::string::npos)
      kept.push_back(line);
  if (kept.size() > 12) kept.erase(kept.begin(), kept.end() - 12);
  return fmt::format("{}", fmt::join(kept, "\n"));
}

namespace {

// Holds of containers that are gone: a supervisor may have been killed between the two.
void release_images(const Paths& paths) {
  std::set<std::string> wanted;
  for (const std::string& id : run::ContainerDir::list(containers_directory(paths)))
    wanted.insert(image_hold(id));
  oci::Store store(join(paths.state_dir, "store"));
  for (const std::string& name : store.hold_names())
    if (name.starts_with(image_hold("")) && !wanted.contains(name)) store.release(name);
}

}  // namespace

Found adopt_or_clear(const Paths& paths, const std::string& unit, const std::string& key,
                     std::chrono::milliseconds grace) {
  Found found;
  std::optional<UnitRecord> newest = load_unit(paths, unit);
  for (const UnitRecord& record : load_units(paths)) {
    if (record.unit != unit) continue;
    run::ContainerDir container = run::ContainerDir::open(containers_directory(paths), record.id);
    bool running = container.adopt().status == run::RunStatus::running;
    if (record.id == newest->id && record.key == key) {
      found = {record, running};
      continue;
    }
    info("container {}: removing it, it was made for something else", record.id.substr(0, 12));
    if (running) container.stop(grace);
    remove_unit(paths, container);
  }
  release_images(paths);
  return found;
}

void remove_unit(const Paths& paths, run::ContainerDir& container) {
  std::string id = container.id();
  container.remove();
  net::Netns::remove(paths.run_dir, id);
  oci::Store(join(paths.state_dir, "store")).release(image_hold(id));
}

std::vector<std::string> clear_others(const Paths& paths, const std::set<std::string>& units,
                                      std::chrono::milliseconds grace) {
  std::set<std::string> kept;
  for (const UnitRecord& record : load_units(paths))
    if (units.count(record.unit)) kept.insert(record.id);
  std::vector<run::ContainerDir> ending;
  for (const std::string& id : run::ContainerDir::list(containers_directory(paths)))
    if (!kept.count(id)) ending.push_back(run::ContainerDir::open(containers_directory(paths), id));
  std::vector<std::string> ids;
  for (run::ContainerDir& container : ending) {  // all at once: each may take its whole grace
    info("container {}: removing it, this node isn't to run it", container.id().substr(0, 12));
    if (container.adopt().status == run::RunStatus::running) container.request_stop(grace);
  }
  for (run::ContainerDir& container : ending) {
    if (container.watch_fd() >= 0) container.wait();
    ids.push_back(container.id());
    remove_unit(paths, container);
  }
  return ids;
}

void remove_all_containers(const Paths& paths, std::chrono::milliseconds grace) {
  std::string directory = containers_directory(paths);
  std::vector<run::ContainerDir> all;
  for (const std::string& id : run::ContainerDir::list(directory))
    all.push_back(run::ContainerDir::open(directory, id));
  for (run::ContainerDir& container : all)  // all at once: each may take its whole grace
    if (container.adopt().status == run::RunStatus::running) container.request_stop(grace);
  for (run::ContainerDir& container : all) {
    if (container.watch_fd() >= 0) container.wait();
    remove_unit(paths, container);
  }
  release_images(paths);
}

}  // namespace rayctl::ray
