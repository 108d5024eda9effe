// nestor-server: holds the intent durably and reconciles it to the agents. The only place
// where the server's adapters meet.

#include <grpcpp/impl/service_type.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <memory>
#include <string>

#include "api/support/clock.h"
#include "api/support/event_loop.h"
#include "api/support/grpc_locks.h"
#include "api/support/log.h"
#include "api/support/monitoring.h"
#include "api/support/program_options.h"
#include "api/support/status_macros.h"
#include "api/support/stop_signal.h"
#include "api/support/uuid.h"
#include "server/metrics.h"
#include "server/reconcile/agent_sessions.h"
#include "server/reconcile/cluster_state.h"
#include "server/service/agent_service.h"
#include "server/service/api_services.h"
#include "server/service/grpc_server.h"
#include "server/service/host_admin_service.h"
#include "server/store/rocksdb_store.h"

namespace nestor::server {
namespace {

struct Config {
  std::string data_dir = "/var/lib/nestor";
  std::string listen = "unix:/run/nestor/server.sock";
  std::string agent_listen = "unix:/run/nestor/agents.sock";
  std::string admin_listen;   // empty: no such server
  std::string health_listen;  // the same
  TransportSecurity security;
  WatchOptions watch;
  bool reflection = false;
  int lease_seconds = 40;
};

constexpr char kFooter[] = R"(Examples:
  nestor-server --data-dir ./data --listen 127.0.0.1:7440 --agent-listen 127.0.0.1:7441 --insecure
  nestor-server --data-dir ./data --listen unix:./api.sock --agent-listen unix:./agents.sock --insecure
  nestor-server --listen 0.0.0.0:7440 --agent-listen 0.0.0.0:7441 --admin-listen 127.0.0.1:7442 \
      --tls-cert tls.crt --tls-key tls.key --tls-ca ca.crt

Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start (the store is damaged, in use or
of a newer version; an address is taken; a TLS file cannot be used), 2 wrong usage.)";

// A connected client has that long to end its call when the server stops.
constexpr absl::Duration kDrain = absl::Seconds(5);

StateCounts StatesOf(const ClusterState& state) {
  StateCounts counts;
  state.Read([&](const View& view) { counts = view.CountStates(); });
  return counts;
}

// Those that the configuration wants of the servers for operators and for probes.
absl::StatusOr<std::vector<std::unique_ptr<GrpcServer>>> StartSideServers(
    const Config& config, grpc::Service& admin_service, RpcObserver& observer) {
  std::vector<std::unique_ptr<GrpcServer>> servers;
  if (!config.admin_listen.empty()) {
    ASSIGN_OR_RETURN(
        servers.emplace_back(),
        GrpcServer::StartAdmin(
            {config.admin_listen, config.security, {&admin_service}, true, &observer}));
  }
  if (!config.health_listen.empty()) {
    ASSIGN_OR_RETURN(servers.emplace_back(), GrpcServer::StartHealth(config.health_listen));
  }
  return servers;
}

absl::Status CheckConfig(const Config& config) {
  RETURN_IF_ERROR(CheckTransport(config.security, config.listen));
  RETURN_IF_ERROR(CheckTransport(config.security, config.agent_listen));
  if (config.admin_listen.empty()) return absl::OkStatus();
  return CheckTransport(config.security, config.admin_listen);
}

absl::Status Run(const Config& config, const StopSignal& stop_signal) {
  SystemClock clock;
  Metrics metrics(NESTOR_VERSION);
  // Members of one lifetime, in order: what a later one uses is declared before it.
  RocksDbStoreOptions store_options;
  store_options.on_group = [&](size_t transactions, bool synced, absl::Duration write) {
    metrics.OnGroup(transactions, synced, write);
  };
  ASSIGN_OR_RETURN(auto store, RocksDbStore::Open(config.data_dir, store_options, clock));
  RETURN_IF_ERROR(ClusterState::BeginRun(*store));
  ASSIGN_OR_RETURN(auto state, ClusterState::Load(*store, clock));
  EventLoop loop;
  AgentSessions sessions(
      *state, *store, clock, loop, NewUuid,
      {.lease_ttl = absl::Seconds(config.lease_seconds),
       .on_rung = [&](auto rung, absl::Duration after) { metrics.OnRung(rung, after); }});
  metrics.Show({.states = [&] { return StatesOf(*state); },
                .revision = [&] { return state->HeadRevision(); },
                .queued_transactions = [&] { return store->Queued(); },
                .agent_sessions = [&] { return sessions.count(); },
                .unanswered_objects = [&] { return sessions.pending(); }});
  auto agent_service = MakeAgentService(sessions);
  auto admin_service = MakeHostAdminService(*state);
  ApiServices api(*state, sessions, NewUuid);
  ASSIGN_OR_RETURN(auto agents, GrpcServer::Start({config.agent_listen,
                                                   config.security,
                                                   {agent_service.get()},
                                                   config.reflection,
                                                   &metrics}));
  ASSIGN_OR_RETURN(auto clients, GrpcServer::Start({config.listen, config.security, api.services(),
                                                    config.reflection, &metrics}));
  ASSIGN_OR_RETURN(auto side_servers, StartSideServers(config, *admin_service, metrics));
  std::atomic<bool> ready = true;
  std::unique_ptr<MonitoringServer> monitoring;
  if (!config.watch.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(monitoring, MonitoringServer::Start(config.watch.metrics_listen, metrics,
                                                         [&] { return ready.load(); }));
    log::Info({}, "metrics at http://{}/metrics", monitoring->address());
  }
  log::Info({}, "store {} of {} at revision {}; clients at {}, agents at {}", config.data_dir,
            state->Incarnation(), state->HeadRevision(), config.listen, config.agent_listen);

  log::Info({}, "stopping on {}", stop_signal.Wait());
  ready = false;
  api.End();
  sessions.Drain();
  for (auto& server : side_servers) server->Drain(kDrain);
  clients->Drain(kDrain);
  agents->Drain(kDrain);
  loop.Stop();
  monitoring.reset();
  metrics.Show({});
  // What is still queued may call back into what is destroyed next: wait until it has.
  return CommitAndWait(*store, Transaction()).status();
}

}  // namespace
}  // namespace nestor::server

int main(int argc, char** argv) {
  nestor::server::Config config;
  CLI::App app("nestor-server: holds which page table each PASID shall walk, and makes it so");
  app.footer(nestor::server::kFooter);
  app.set_version_flag("--version", std::string("nestor-server ") + NESTOR_VERSION);
  app.add_option("--data-dir", config.data_dir, "Directory of the embedded store")
      ->capture_default_str();
  app.add_option("--listen", config.listen, "Address for clients: unix:PATH or HOST:PORT")
      ->capture_default_str();
  app.add_option("--agent-listen", config.agent_listen, "Address for agents")
      ->capture_default_str();
  app.add_option(
      "--admin-listen", config.admin_listen,
      "Address for operators: fence and drain hosts; gRPC reflection and channelz (default: none)");
  app.add_option("--health-listen", config.health_listen,
                 "Address for probes: grpc.health.v1 alone, in plaintext (default: none)");
  nestor::AddTransportOptions(&app, &config.security);
  nestor::AddReloadOption(&app, &config.security);
  app.add_flag("--reflection", config.reflection, "Serve gRPC reflection to clients and agents");
  app.add_option("--lease", config.lease_seconds,
                 "Seconds after which a silent host becomes UNKNOWN")
      ->check(CLI::Range(2, 3600))
      ->capture_default_str();
  nestor::AddWatchOptions(&app, &config.watch);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  config.watch.StartLog();
  if (absl::Status status = nestor::server::CheckConfig(config); !status.ok()) {
    std::cerr << "nestor-server: " << status.message() << "\n";
    return 2;
  }
  nestor::StopNotingOrderOfLocks();
  const nestor::StopSignal stop_signal;
  if (absl::Status status = nestor::server::Run(config, stop_signal); !status.ok()) {
    std::cerr << "nestor-server: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
