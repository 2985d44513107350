// `rayctl up`, `run` and `down`: a plan, a question, and then the cluster as it was asked for.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/paths.h"
#include "fleet/clouds.h"
#include "fleet/keeper.h"
#include "fleet/plan_text.h"
#include "fleet/settings.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

enum class Answer { ask, yes };
enum class Form { text, json };

struct UpWish {
  stitch::Deployment deployment;
  Settings settings;
  std::string again;  // the command line that goes on with it: "rayctl up ray-runner.spec"
  Answer answer = Answer::ask;
  bool dry_run = false;
  // How long to wait until Ray is healthy; 0 = not at all.
  std::chrono::seconds wait = std::chrono::minutes(60);
  Form form = Form::text;
};
// Returns the exit code. Interrupted: prints what runs, what it costs and how to go on; nothing is stopped.
int up(const Paths& paths, const UpWish& wish);

// Hands the deployment to the daemon, as 2016's `run` did: no plan, no question.
int run(const Paths& paths, const UpWish& wish);

struct DownWish {
  std::string name;  // empty: the only one that there is
  Answer answer = Answer::ask;
  std::chrono::seconds wait = std::chrono::minutes(20);
  Form form = Form::text;
};
int down(const Paths& paths, const DownWish& wish);

// What `up` shows before it acts: reads the clouds, changes nothing there. Adds to the settings what
// choose_binary() finds.
PlanPaper plan_paper(const std::string& name, const stitch::Deployment& deployment, Settings& settings,
                     Clouds& clouds);

// Asks on the terminal; UsageError when there is none ("--yes").
bool confirm(const std::string& question, const std::string& otherwise);

// The one that is meant: `name`, or the only one known; an Error lists them.
std::string choose_cluster(const std::string& name);

// The cluster now: by its owner, else by a look of our own; with the error when only the last look is known.
struct Looked {
  ClusterLook look;
  std::string trouble;
};
Looked look_at(const std::string& name);

}  // namespace rayctl::fleet
