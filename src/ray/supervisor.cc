#include "ray/supervisor.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/control_local.h"
#include "ray/image_access.h"
#include "ray/image_server.h"
#include "ray/jobs.h"
#include "ray/net_requests.h"
#include "ray/node_control.h"
#include "ray/node_net.h"
#include "ray/node_requests.h"
#include "ray/preflight.h"
#include "ray/registries.h"
#include "ray/sd_notify.h"
#include "ray/unit_set.h"
#include "run/footprint.h"
#include "run/sealed.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr auto network_retry = std::chrono::seconds(5);
constexpr auto settling = std::chrono::seconds(10);

// One supervisor a state directory: two would fight over containers and links.
FileLock lock_state(const Paths& paths) {
  make_directories(paths.state_dir, 0700);
  make_directories(paths.run_dir, 0755);
  std::string path = join(paths.state_dir, "node.lock");
  if (auto lock = FileLock::try_lock(path, LockKind::exclusive)) return std::move(*lock);
  throw Error(
      "cannot run a node: another 'rayctl node' uses '{}' (end that one, or give this one a --state-dir of "
      "its own)",
      paths.state_dir);
}

class Supervisor {
 public:
  Supervisor(const Paths& paths, const NodeConfig& config)
      : config_(config),
        lock_(lock_state(paths)),
        sealed_(run::sealed_binary(paths.run_dir)),
        jobs_(io_),
        signals_(io_, SIGINT, SIGTERM),
        net_(io_, jobs_, paths, sealed_, config.overlay,
             {[this](const std::string& underlay, const std::string& public_key) {
               if (control_) control_->set_network_facts(underlay, public_key);
             }}),
        images_(config.role == cluster::MemberRole::head
                    ? head_image_access(paths)
                    : worker_image_access(io_, [this]() -> NodeControl& { return *control_; })),
        units_(unit_host(paths)) {
    ControlEvents events;
    events.on_view = [this](const cluster::ClusterView& view) { view_changed(view); };
    events.on_assigned = [this](const Assignment& assignment) { units_.assign(assignment); };
    events.on_connected = [] { info("the head is reached"); };
    events.on_disconnected = [](const std::string& why) { debug("the head is not reached: {}", why); };
    events.on_refused = [this](const std::string& why) { refused(why); };
    control_ = config.role == cluster::MemberRole::head
                   ? make_head_control(io_, paths, config, requests_, std::move(events))
                   : make_worker_control(io_, paths, config, requests_, std::move(events));
    auto context = std::make_shared<RequestContext>(
        RequestContext{io_, jobs_, *control_, units_, net_, [this] { end(0, "stopping"); }});
    register_node_requests(requests_, context);
    register_net_requests(requests_, context);
    if (config.role == cluster::MemberRole::head) {
      register_registry_requests(requests_, paths);
      image_server_ = std::make_unique<ImageServer>(io_, paths, requests_,
                                                    [this](const std::string&) { units_.image_came(); });
    }
    local_ = std::make_unique<cluster::LocalServer>(io_, paths.run_dir, requests_);
  }

  int run() {
    std::signal(SIGPIPE, SIG_IGN);
    signals_.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      end(number == SIGINT ? static_cast<int>(ExitCode::interrupted) : 0,
          "ending; containers go on running: 'rayctl node' takes them over again, 'rayctl node stop' stops "
          "them");
    });
    units_.set_stage(Stage::joining, "", "");
    control_->start();
    sd_notify("READY=1");
    io_.run();
    images_->stop();
    sd_notify("STOPPING=1");
    if (!refusal_.empty()) throw Error("{}", refusal_);
    return code_;
  }

 private:
  void view_changed(const cluster::ClusterView& view) {
    const cluster::Node* self = control_->self();
    if (!self) return;
    try {
      net_.update(view, *self);
    } catch (const Error& e) {
      units_.set_stage(Stage::failed, "network", e.message());
      warn("network: {}", e.message());
      retry_.expires_after(network_retry);
      retry_.async_wait([this](const boost::system::error_code& error) {
        if (!error) view_changed(control_->view());
      });
      return;
    }
    if (units_.begun()) return units_.view_changed(view);
    if (std::exchange(waiting_for_token_, true)) return;
    info("this node is {}: address {}", self->name, cluster::reached_at(view.cluster, *self, self->address));
    control_->ray_token([this](const std::string& token, const std::string& error) {
      waiting_for_token_ = false;
      const cluster::Node* now = control_->self();
      if (!error.empty() || !now) return units_.set_stage(Stage::joining, "", error);
      units_.begin(control_->view(), *now, token);
    });
  }

  UnitSet::Host unit_host(const Paths& paths) {
    return {io_,
            jobs_,
            net_,
            paths,
            config_,
            sealed_,
            images_,
            [this](const NodeReport& report) { told(report); },
            [this](const std::string& start) { control_->set_setting(head_start_setting, start); },
            [this](const cluster::ContainerNames& names) { control_->set_names(names); }};
  }

  void told(const NodeReport& report) {
    if (!control_) return;
    control_->report(report);
    sd_notify(fmt::format("STATUS={} {}", stage_name(report.stage), report.detail));
    if (report.stage != Stage::healthy) return;
    settled_.expires_after(settling);
    settled_.async_wait([](const boost::system::error_code& error) {
      if (!error) run::release_code_pages();  // what only the start needed
    });
  }

  void refused(const std::string& why) {
    if (units_.begun()) {  // Ray may still be of use to someone: say so, and leave it to the operator
      warn("the head refuses this node: {}", why);
      return units_.note(why);
    }
    refusal_ = why;
    io_.stop();
  }

  void end(int code, const char* words) {
    code_ = code;
    info("{}", words);
    io_.stop();
  }

  NodeConfig config_;
  FileLock lock_;
  std::string sealed_;
  asio::io_context io_{1};
  Jobs jobs_;
  asio::signal_set signals_;
  cluster::RequestTable requests_;
  NodeNet net_;
  std::shared_ptr<ImageAccess> images_;
  UnitSet units_;
  std::unique_ptr<NodeControl> control_;
  std::unique_ptr<ImageServer> image_server_;
  std::unique_ptr<cluster::LocalServer> local_;
  asio::steady_timer retry_{io_}, settled_{io_};
  bool waiting_for_token_ = false;
  int code_ = 0;
  std::string refusal_;
};

}  // namespace

int run_supervisor(const Paths& paths, const NodeConfig& config) {
  preflight();
  Paths whole{absolute(paths.state_dir), absolute(paths.run_dir)};
  return Supervisor(whole, config).run();
}

}  // namespace rayctl::ray
