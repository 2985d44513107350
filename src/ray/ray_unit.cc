#include "ray/ray_unit.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <random>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "ray/health.h"
#include "ray/pods.h"
#include "ray/unit_adopt.h"
#include "ray/unit_exec.h"
#include "ray/unit_logs.h"
#include "ray/unit_make.h"
#include "ray/unit_place.h"
#include "run/lifecycle.h"
#include "run/restart.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

using namespace std::chrono_literals;
constexpr auto probe_timeout = 5s;
// A Ray that never got well, or hasn't been well for so long, is started anew.
constexpr auto patience = 10min;
constexpr std::chrono::seconds pull_retry_first = 2s, pull_retry_most = 60s;
constexpr auto percent_pause = 500ms;
constexpr uint64_t tail_lines = 40;

cluster::WallTime seconds_of(run::WallClock::time_point time) {
  return std::chrono::time_point_cast<std::chrono::seconds>(time);
}

}  // namespace

struct RayUnit::State : std::enable_shared_from_this<RayUnit::State> {
  explicit State(UnitHost unit_host)
      : host(std::move(unit_host)), retry_timer(host.io), health_timer(host.io), watch(host.io) {
    report = fresh_report(host.config.resources);
  }

  // --- the report ---
  void tell() { host.on_report(report); }

  void set_stage(Stage stage, const std::string& detail = "", const std::string& error = "") {
    if (!error.empty() && error != report.error) warn("{}", error);
    note_stage(report, stage);
    report.detail = detail;
    report.error = error;
    if (stage == Stage::healthy) report.log_tail.clear();
    tell();
  }

  void describe_container(ContainerState state) {
    if (!record) return report.container.reset();
    ContainerReport& c = report.container ? *report.container : report.container.emplace();
    describe(c, *record);
    c.name = place.name;
    c.checked = !place.plain;
    c.state = state;
    if (state != ContainerState::running) {
      c.healthy = false;
      c.pid = 0;
    }
  }

  // --- from nothing to a container that runs ---
  void begin(const cluster::ClusterView& view, const cluster::Node& self, const std::string& token) {
    place = unit_place(host.config, view, self, host.assigned);
    place.ray_token = token;
    place.cgroup = containers_cgroup(host.paths.run_dir, self.id);
    place.sealed_binary = host.sealed_binary;
    view_changed(view);
    job<Found>([paths = host.paths, unit = place.unit, key = place.key,
                grace = stop_grace()] { return adopt_or_clear(paths, unit, key, grace); },
               [this](Found found) {
                 record = std::move(found.record);
                 if (!record) return obtain();
                 container = run::ContainerDir::open(containers_directory(host.paths), record->id);
                 if (found.running) {
                   info("container {}: taken over", record->id.substr(0, 12));
                   run::RunState state = container->state();
                   host.net.attach(record->id, state.init ? state.init->pid : 0, address_place());
                   return running();
                 }
                 if (record->stopped) return stopped();
                 start();
               });
  }

  void obtain() {
    if (want_stop) return stopped();
    set_stage(Stage::pulling, place.image, report.stage == Stage::pulling ? report.error : "");
    waits_for_image = false;
    busy = true;
    host.gate.enter(place.image, [self = shared_from_this()] { self->pull(); });
  }

  void pull() {
    auto progress = [&io = host.io, unit = weak_from_this()](int percent) {
      asio::post(io, [unit, percent] {
        if (auto self = unit.lock()) self->pulled(percent);
      });
    };
    job<ReadyImage>(
        [host = host, name = place.image, progress] {
          return ready_image(host.paths, host.config, name, *host.images, progress, host.jobs.ending());
        },
        [this](ReadyImage image) {
          pull_failures = 0;
          make(std::move(image));
          host.gate.leave(place.image);
        },
        [this](const std::string& error) {
          host.gate.leave(place.image);
          if (want_stop) return stopped();
          auto delay = std::min(pull_retry_first * (1 << std::min(pull_failures++, 5)), pull_retry_most);
          waits_for_image = true;
          std::string detail = fmt::format("{}, again in {}", place.image, human_duration(delay));
          set_stage(Stage::pulling, detail, error);
          after(delay, [this] { obtain(); });
        });
  }

  // Says so twice a second at most: the report goes to the head each time.
  void pulled(int percent) {
    auto now = std::chrono::steady_clock::now();
    if (report.stage != Stage::pulling || !busy || now - last_percent < percent_pause) return;
    last_percent = now;
    set_stage(Stage::pulling, fmt::format("{} %", percent));
  }

  void make(ReadyImage image) {
    set_stage(Stage::creating);
    job<UnitRecord>([paths = host.paths, place = place,
                     image = std::move(image)] { return make_unit(paths, place, image); },
                    [this](UnitRecord made) {
                      record = std::move(made);
                      container = run::ContainerDir::open(containers_directory(host.paths), record->id);
                      start();
                    },
                    [this](const std::string& error) {
                      set_stage(Stage::failed, "", error);
                      after(pull_retry_most, [this] { obtain(); });
                    });
  }

  void start() {
    if (want_stop || record->stopped) return stopped();
    set_stage(Stage::starting_ray, "", report.error);
    describe_container(ContainerState::created);
    record->head_start = head_start;
    ended_by_us = false;
    try {
      save_unit(host.paths, *record);
      host.net.attach(record->id, 0, address_place());
      if (place.shares_network && !place.plain) require_free_ports(place.ray);
    } catch (const Error& e) {
      return start_failed(e.message());
    }
    job<bool>(
        [paths = host.paths, id = record->id] {
          run::ContainerDir::open(containers_directory(paths), id).launch(paths.run_dir);
          return true;
        },
        [this](bool) { running(); }, [this](const std::string& error) { start_failed(error); });
  }

  void start_failed(const std::string& error) {
    run::ContainerExit exit{.code = 1, .finished = run::WallClock::now()};
    exit.error = error;
    ended(exit);
  }

  // --- while it runs ---
  void running() {
    watch.release();
    container =
        run::ContainerDir::open(containers_directory(host.paths), record->id);  // it watches one run only
    run::RunState state = container->state();
    describe_container(ContainerState::running);
    ContainerReport& c = *report.container;
    c.exit_code.reset();
    c.oom_killed = false;
    if (state.started) c.started = seconds_of(*state.started);
    if (state.init) c.pid = state.init->pid;
    c.healthy = place.plain.has_value();  // it runs: more isn't asked of it
    set_stage(place.plain ? Stage::healthy : Stage::starting_ray, "", place.plain ? "" : report.error);
    if (!place.plain && place.ray.role == cluster::MemberRole::head && host.on_head_start)
      host.on_head_start(fmt::format("{}-{}", record->id.substr(0, 12), record->restarts));
    if (int fd = container->watch_fd(); fd >= 0) {
      watch.assign(fd);
      watch.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         if (!error) self->container_ended();
                       });
    } else {
      return container_ended();  // it was quicker than we are
    }
    if (want_stop) return end_container(stop_grace());  // asked for while it was being started
    if (place.plain) return;
    judge = {};
    last_well = std::chrono::steady_clock::now();
    look();
  }

  void container_ended() {
    watch.release();
    job<run::ContainerExit>(
        [paths = host.paths, id = record->id] {
          run::ContainerDir container = run::ContainerDir::open(containers_directory(paths), id);
          container.adopt();
          run::ContainerExit unknown;
          unknown.error = "its end was not recorded";
          unknown.finished = run::WallClock::now();
          return container.exit().value_or(unknown);
        },
        [this](run::ContainerExit exit) { ended(exit); });
  }

  void ended(const run::ContainerExit& exit) {
    stop_looking();
    bool stays_down = want_stop || record->stopped;
    describe_container(stays_down ? ContainerState::stopped : ContainerState::restarting);
    ContainerReport& c = *report.container;
    c.exit_code = exit.status();
    c.oom_killed = exit.oom;
    c.finished = seconds_of(exit.finished);
    if (stays_down) return stopped();
    std::string why = exit.error.empty()
                          ? fmt::format("{} ended: {}", place.plain ? place.name : "Ray", run::describe(exit))
                          : exit.error;
    report.log_tail = telling_lines(log_tail(container->path(), tail_lines));
    auto decision =
        run::decide_restart({}, history, exit, std::uniform_real_distribution<double>(0, 1)(generator));
    if (ended_by_us || !decision) decision = run::RestartDecision{.delay = 0ms, .history = history};
    history = decision->history;
    record->restarts += 1;
    if (ended_by_us)
      set_stage(Stage::starting_ray, "", "");
    else
      set_stage(Stage::failed, fmt::format("again in {}", human_duration(decision->delay)), why);
    after(decision->delay, [this] { start(); });
  }

  // --- health ---
  void look() {
    ask(place.ray.ports.agent_http, agent_path, [this](const HttpAnswer& answer) {
      if (answer.status == 404 && agent_path != old_agent_path) {  // Ray before 2.53
        agent_path = old_agent_path;
        return look();
      }
      if (answer.status != 200 || place.ray.role != cluster::MemberRole::head) return judged(answer);
      // A head whose dashboard lost its port looks well to the agent.
      ask(place.ray.ports.dashboard, "/api/gcs_healthz", [this](const HttpAnswer& gcs) { judged(gcs); });
    });
  }

  void ask(uint16_t port, const std::string& path, std::function<void(const HttpAnswer&)> then) {
    probe = HealthProbe::start(host.io, place.ray.address, port, path, probe_timeout, std::move(then));
  }

  void judged(const HttpAnswer& answer) {
    bool ok = answer.status == 200 && answer.body.find("success") != std::string::npos;
    HealthJudge::Verdict before = judge.verdict(), now = judge.judge(ok);
    auto time = std::chrono::steady_clock::now();
    if (ok) last_well = time;
    report.container->healthy = now == HealthJudge::Verdict::healthy;
    if (now != before && now == HealthJudge::Verdict::healthy) {
      info("Ray is healthy");
      was_healthy = true;
      set_stage(Stage::healthy);
    } else if (now != before && now == HealthJudge::Verdict::unhealthy) {
      std::string said =
          answer.error.empty() ? fmt::format("{} {}", answer.status, printable(answer.body)) : answer.error;
      set_stage(Stage::unhealthy, "", "Ray's health check fails: " + said);
    }
    if (time - last_well > patience) {
      last_well = time;
      warn("Ray hasn't been healthy for {}: starting it anew", human_duration(patience));
      end_container(stop_grace());
      return;
    }
    health_timer.expires_after(judge.interval());
    health_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->look();
    });
  }

  void stop_looking() {
    if (probe) probe->cancel();
    probe.reset();
    health_timer.cancel();
  }

  // --- the head's Ray started anew: ours belongs to a cluster that is gone ---
  void view_changed(const cluster::ClusterView& view) {
    auto setting = view.cluster.settings.find(head_start_setting);
    std::string start = setting == view.cluster.settings.end() ? "" : setting->second;
    if (place.plain || start.empty() || start == head_start) return;
    head_start = start;
    if (place.ray.role == cluster::MemberRole::head || !record || !report.container) return;
    bool runs = report.container->state == ContainerState::running;
    // One that never got well waits for whichever head there is.
    if (!runs || (record->head_start.empty() && !was_healthy)) return;
    if (record->head_start == start) return;
    info("the head's Ray was started anew: starting this node's too");
    end_container(0ms);  // a drain couldn't reach the old head
  }

  // --- operators ---
  std::chrono::milliseconds stop_grace() const { return host.config.stop_grace; }

  void end_container(std::chrono::milliseconds grace) {
    ended_by_us = true;
    try {
      container->request_stop(grace);
    } catch (const Error& e) {
      warn("container {}: {}", record->id.substr(0, 12), e.message());
    }
  }

  bool runs() const { return report.container && report.container->state == ContainerState::running; }

  void stop(Done done) {
    want_stop = true;
    if (record) {
      record->stopped = true;
      save_unit(host.paths, *record);
    }
    if (!runs()) {
      retry_timer.cancel();
      if (!busy) stopped();
      return done("");
    }
    waiters.push_back(std::move(done));
    stop_looking();
    end_container(stop_grace());
  }

  void image_came() {
    if (!waits_for_image || busy || want_stop) return;
    retry_timer.cancel();
    obtain();
  }

  void stopped() {
    if (retired) return remove();
    if (record) host.net.detach(record->id);  // a start makes its namespace anew
    describe_container(ContainerState::stopped);
    set_stage(Stage::stopped);
    for (Done& done : std::exchange(waiters, {})) done("");
  }

  void retire(Done done) {
    want_stop = true;
    retired = std::move(done);
    stop_looking();
    if (runs()) return end_container(stop_grace());
    retry_timer.cancel();
    if (!busy) stopped();
  }

  void remove() {
    if (std::exchange(removing, true)) return;
    job<bool>(
        [paths = host.paths, record = record] {
          if (record) run::ContainerDir::open(containers_directory(paths), record->id).remove();
          return true;
        },
        [this](bool) { removed(""); }, [this](const std::string& error) { removed(error); });
  }

  void removed(const std::string& error) {
    if (record) host.net.detach(record->id);
    if (retired) retired(error);
  }

  void restart(Done done) {
    if (runs()) {
      end_container(stop_grace());
      return done("");
    }
    want_stop = false;
    if (record) {
      record->stopped = false;
      save_unit(host.paths, *record);
    }
    retry_timer.cancel();
    if (!busy) record ? start() : obtain();
    done("");
  }

  // --- helpers ---
  uint32_t address_place() const { return host.assigned ? host.assigned->place : 0; }

  template <class T>
  void job(std::function<T()> work, std::function<void(T)> then,
           std::function<void(const std::string&)> failed = {}) {
    busy = true;
    host.jobs.run<T>(std::move(work),
                     [self = shared_from_this(), then = std::move(then), failed = std::move(failed)](
                         std::optional<T> result, const std::string& error) {
                       self->busy = false;
                       try {
                         if (result) return then(std::move(*result));
                         if (failed) return failed(error);
                         self->set_stage(Stage::failed, "", error);
                       } catch (const Error& e) {  // the per-container boundary
                         self->set_stage(Stage::failed, "", e.message());
                       }
                     });
  }

  void after(std::chrono::milliseconds delay, std::function<void()> then) {
    retry_timer.expires_after(delay);
    retry_timer.async_wait(
        [self = shared_from_this(), then = std::move(then)](const boost::system::error_code& error) {
          if (!error) then();
        });
  }

  static constexpr const char* old_agent_path = "/api/local_raylet_healthz";

  UnitHost host;
  NodeReport report;
  UnitPlace place;
  std::optional<UnitRecord> record;
  std::optional<run::ContainerDir> container;
  run::RestartHistory history;
  asio::steady_timer retry_timer, health_timer;
  asio::posix::stream_descriptor watch;  // its fd is the container's
  std::shared_ptr<HealthProbe> probe;
  HealthJudge judge;
  std::string agent_path = "/api/healthz", head_start;
  std::chrono::steady_clock::time_point last_well{}, last_percent{};
  std::vector<Done> waiters;
  std::mt19937_64 generator{std::random_device{}()};  // spreads probes and restarts
  Done retired;                                       // set: this unit ends for good
  int pull_failures = 0;
  bool busy = false, want_stop = false, ended_by_us = false, was_healthy = false, waits_for_image = false,
       removing = false;
};

RayUnit::RayUnit(UnitHost host) : state_(std::make_shared<State>(std::move(host))) {}

RayUnit::~RayUnit() {
  state_->stop_looking();
  state_->retry_timer.cancel();
  state_->watch.release();
}

void RayUnit::begin(const cluster::ClusterView& view, const cluster::Node& self,
                    const std::string& ray_token) {
  state_->begin(view, self, ray_token);
}
void RayUnit::view_changed(const cluster::ClusterView& view) {
  state_->view_changed(view);
}
void RayUnit::image_came() {
  state_->image_came();
}
void RayUnit::set_stage(Stage stage, const std::string& detail, const std::string& error) {
  state_->set_stage(stage, detail, error);
}
const NodeReport& RayUnit::report() const {
  return state_->report;
}
void RayUnit::stop(Done done) {
  state_->stop(std::move(done));
}
void RayUnit::restart(Done done) {
  state_->restart(std::move(done));
}
void RayUnit::retire(Done done) {
  state_->retire(std::move(done));
}

void RayUnit::exec(const Json& body, const cluster::ChannelPtr& channel) {
  if (!state_->runs())
    throw Error("cannot run a command: the container isn't running ('rayctl status' says why)");
  serve_exec(state_->host.io, *state_->container, body, channel);
}

void RayUnit::logs(const Json& body, const cluster::ChannelPtr& channel) {
  if (!state_->container) throw Error("cannot show a log: there is no container yet");
  stream_log(state_->host.io, state_->container->path(), body, channel);
}

}  // namespace rayctl::ray
