// nestor-bench: Nestor's figures, each beside what the same machine does without Nestor.

#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/grpc_locks.h"
#include "api/support/status_macros.h"
#include "tests/bench/bind_cost.h"
#include "tests/bench/fleet.h"
#include "tests/bench/floors.h"
#include "tests/bench/hollow_agents.h"
#include "tests/bench/nestor_under_test.h"
#include "tests/bench/shim_memory.h"

namespace nestor::bench {
namespace {

constexpr int kMachines = 32;
constexpr int kBindingsPerAgent = 100;

struct Config {
  std::string directory = ".";
  std::string json = "bench.json";
  double seconds = 3;
  int64_t bindings = 1'000'000;
  int agents = 1000;
};

// Collects figures and prints each when it is there.
class Report {
 public:
  // `ratio_to`: what the figure is to be divided by, with its name; 0: nothing.
  void Add(const std::string& key, const std::string& what, double value, const std::string& unit,
           double floor = 0, const std::string& floor_name = "") {
    json_[key] = value;
    std::string line = absl::StrFormat("%-46s %12.4g %-12s", what, value, unit);
    if (floor > 0) absl::StrAppendFormat(&line, "%6.2f x %s", value / floor, floor_name);
    std::cout << line << std::endl;
  }
  void AddRatio(const std::string& key, double value) { json_[key] = value; }
  void Write(const std::string& path) const {
    std::ofstream(path) << json_.dump(2) << "\n";
    std::cout << "figures: " << path << std::endl;
  }

 private:
  nlohmann::ordered_json json_;
};

double Microseconds(absl::Duration duration) { return absl::ToDoubleMicroseconds(duration); }

// What the ladder is compared with.
struct Floors {
  absl::Duration fdatasync;
  absl::Duration echo;        // unary, one at a time
  absl::Duration stream_hop;  // one way
  double echo_rate_64 = 0;
  double create_rate_64 = 0;
};

absl::Status MeasureDisk(const Config& config, const std::string& directory, Report& report,
                         Floors* floors) {
  ASSIGN_OR_RETURN(floors->fdatasync, MeasureFdatasync(directory));
  report.Add("fdatasync_us", "fdatasync of 4 KiB, median", Microseconds(floors->fdatasync), "us");
  ASSIGN_OR_RETURN(const double batches,
                   MeasureRocksDbBatches(directory, 64, absl::Seconds(config.seconds)));
  report.Add("rocksdb_rows_rate", "RocksDB, bare synced batches of 64 rows", batches * 64,
             "rows/s");
  return absl::OkStatus();
}

absl::Status MeasureCalls(const Config& config, const std::string& directory,
                          NestorUnderTest& nestor, Report& report, Floors* floors) {
  const std::string echo_address = "unix:" + directory + "/echo.sock";
  testing::Process echo("nestor-bench", {"--echo", echo_address}, directory + "/echo.log");
  const std::unique_ptr<Etcd> etcd = Etcd::Start(directory);
  if (etcd == nullptr) std::cout << "etcd is not installed: no comparison with it" << std::endl;
  std::atomic<int64_t> echoed = 0;
  std::atomic<int64_t> created = 0;
  for (const int in_flight : {1, 16, 64, 256}) {
    const std::string at = absl::StrCat("_", in_flight);
    const absl::Duration time = absl::Seconds(config.seconds);
    const LoopResult bare = MeasureCreates(echo_address, in_flight, time, kMachines, &echoed);
    report.Add("echo_rate" + at, absl::StrCat("echo, ", in_flight, " in flight"), bare.rate,
               "calls/s");
    const int64_t created_before = created;
    ASSIGN_OR_RETURN(const absl::Duration used_before, nestor.ProcessorTime());
    const LoopResult creates =
        MeasureCreates(nestor.api_address(), in_flight, time, kMachines, &created);
    if (creates.failures > 0) return absl::InternalError("creates failed");
    ASSIGN_OR_RETURN(const absl::Duration used_after, nestor.ProcessorTime());
    report.Add("create_rate" + at, absl::StrCat("CreatePasidBinding, ", in_flight, " in flight"),
               creates.rate, "calls/s", bare.rate, "echo");
    report.Add("create_p99_us" + at, "  p99", Microseconds(creates.p99), "us",
               Microseconds(bare.p99), "echo");
    report.Add("create_cpu_us" + at, "  processor time of the server for each",
               Microseconds((used_after - used_before) / (created - created_before)), "us");
    report.AddRatio("create_vs_echo" + at, creates.rate / bare.rate);
    if (etcd != nullptr) {
      const LoopResult puts = etcd->MeasurePuts(in_flight, time);
      report.Add("etcd_rate" + at, absl::StrCat("etcd put, ", in_flight, " in flight"), puts.rate,
                 "calls/s");
      report.AddRatio("create_vs_etcd" + at, creates.rate / puts.rate);
    }
    if (in_flight == 1) floors->echo = bare.p50;
    if (in_flight == 64) floors->echo_rate_64 = bare.rate;
    if (in_flight == 64) floors->create_rate_64 = creates.rate;
  }
  ASSIGN_OR_RETURN(const absl::Duration round_trip, MeasureStreamRoundTrip(echo_address));
  floors->stream_hop = round_trip / 2;
  return absl::OkStatus();
}

absl::Status MeasureLadders(const Floors& floors, NestorUnderTest& nestor, Report& report) {
  const double floor =
      Microseconds(floors.echo) + Microseconds(floors.fdatasync) + Microseconds(floors.stream_hop);
  report.Add("programmed_floor_us", "echo + fdatasync + one stream hop", floor, "us");
  ASSIGN_OR_RETURN(const NestorUnderTest::Ladder idle, nestor.MeasureLadder(500, 0));
  report.Add("programmed_p50_us", "intent to PROGRAMMED, idle, p50", Microseconds(idle.p50), "us",
             floor, "floor");
  report.Add("programmed_p99_us", "  p99", Microseconds(idle.p99), "us", floor, "floor");
  report.AddRatio("programmed_p50_vs_floor", Microseconds(idle.p50) / floor);
  ASSIGN_OR_RETURN(const NestorUnderTest::Ladder busy,
                   nestor.MeasureLadder(500, floors.create_rate_64 / 2));
  report.Add("programmed_half_load_p50_us", "intent to PROGRAMMED, half load, p50",
             Microseconds(busy.p50), "us", floor, "floor");
  report.Add("programmed_half_load_p99_us", "  p99", Microseconds(busy.p99), "us", floor, "floor");
  return absl::OkStatus();
}

// A thousand bindings each.
int MachinesFor(const Config& config) {
  return static_cast<int>(std::max<int64_t>(config.bindings / 1000, 1));
}

absl::Status MeasureSize(const Config& config, const std::string& directory, Report& report) {
  NestorUnderTest nestor(directory);
  RETURN_IF_ERROR(nestor.Start().status());
  const int machines = MachinesFor(config);
  RETURN_IF_ERROR(CreateMachines(nestor.api_address(), machines));
  ASSIGN_OR_RETURN(const int64_t empty, nestor.ResidentBytes());
  int64_t stored = 0;
  for (const int64_t target : {config.bindings / 100, config.bindings / 10, config.bindings}) {
    ASSIGN_OR_RETURN(const absl::Duration used_before, nestor.ProcessorTime());
    ASSIGN_OR_RETURN(const absl::Duration time,
                     CreateBatches(nestor.api_address(), stored, target - stored, machines));
    if (target == config.bindings) {
      report.Add("batch_create_rate", "BatchCreatePasidBindings, 1000 a batch",
                 static_cast<double>(target - stored) / absl::ToDoubleSeconds(time), "bindings/s");
      ASSIGN_OR_RETURN(const absl::Duration used_after, nestor.ProcessorTime());
      report.Add("batch_create_cpu_us", "  processor time of the server for each binding",
                 Microseconds((used_after - used_before) / (target - stored)), "us");
    }
    stored = target;
    ASSIGN_OR_RETURN(const int64_t now, nestor.ResidentBytes());
    const double each = static_cast<double>(now - empty) / static_cast<double>(target);
    report.Add(absl::StrCat("bytes_per_binding_", target),
               absl::StrCat("server memory per binding, ", target), each, "bytes");
  }
  RETURN_IF_ERROR(nestor.Stop());
  ASSIGN_OR_RETURN(const absl::Duration start, nestor.Start());
  report.Add("start_seconds", absl::StrCat("start with ", config.bindings, " bindings"),
             absl::ToDoubleSeconds(start), "s");
  ASSIGN_OR_RETURN(const int64_t loaded, nestor.ResidentBytes());
  report.Add("bytes_per_binding", "server memory per binding after that start",
             static_cast<double>(loaded - empty) / static_cast<double>(config.bindings), "bytes");
  return nestor.Stop();
}

absl::Status MeasureAgents(const Config& config, const std::string& directory, Report& report) {
  NestorUnderTest nestor(directory);
  ASSIGN_OR_RETURN(const FleetFigures fleet,
                   MeasureFleet(nestor, directory, config.agents, kBindingsPerAgent));
  const std::string of =
      absl::StrFormat("%d agents of %d bindings: ", config.agents, kBindingsPerAgent);
  report.Add("fleet_cold_seconds", of + "cold to PROGRAMMED", absl::ToDoubleSeconds(fleet.cold),
             "s");
  report.Add("fleet_reconnect_seconds", "  reconnect to a restarted server",
             absl::ToDoubleSeconds(fleet.reconnect), "s");
  report.Add("fleet_bytes_per_agent", "  server memory per agent", fleet.bytes_per_agent, "bytes");
  report.Add("fleet_idle_cpu", "  idle, of one core", fleet.idle_cpu, "");
  return absl::OkStatus();
}

int RunCreates(const std::string& address, const Config& config) {
  const absl::Status made = CreateMachines(address, kMachines);
  if (!made.ok()) std::cerr << made << "\n";
  std::atomic<int64_t> next = 0;
  const LoopResult result =
      MeasureCreates(address, 64, absl::Seconds(config.seconds), kMachines, &next);
  std::cout << absl::StrFormat("%.0f calls/s, p50 %.0f us, p99 %.0f us, %d failed\n", result.rate,
                               Microseconds(result.p50), Microseconds(result.p99), result.failures);
  return made.ok() && result.failures == 0 ? 0 : 1;
}

int RunBatches(const std::string& address, const Config& config) {
  const int machines = MachinesFor(config);
  const absl::Status made = CreateMachines(address, machines);
  const auto time = made.ok() ? CreateBatches(address, 0, config.bindings, machines) : made;
  if (!time.ok()) {
    std::cerr << time.status() << "\n";
    return 1;
  }
  std::cout << absl::StrFormat("%.0f bindings/s\n",
                               static_cast<double>(config.bindings) / absl::ToDoubleSeconds(*time));
  return 0;
}

// All but the fleet.
absl::Status MeasureServer(const Config& config, const std::string& calls, const std::string& size,
                           Report& report) {
  Floors floors;
  RETURN_IF_ERROR(MeasureDisk(config, calls, report, &floors));
  ASSIGN_OR_RETURN(const BindCost bind, MeasureBind());
  report.Add("bind_us", "bind, whole backend, simulated kernel", Microseconds(bind.bind), "us",
             Microseconds(bind.kernel), "the bare ioctl");
  report.AddRatio("bind_vs_ioctl", bind.bind / bind.kernel);
  ASSIGN_OR_RETURN(const int64_t shim, MeasureShimMemory(config.directory + "/shims"));
  report.Add("shim_private_bytes", "private memory of an idle nestor-shim",
             static_cast<double>(shim), "bytes");
  NestorUnderTest nestor(calls);
  RETURN_IF_ERROR(nestor.Start().status());
  RETURN_IF_ERROR(CreateMachines(nestor.api_address(), kMachines));
  RETURN_IF_ERROR(MeasureCalls(config, calls, nestor, report, &floors));
  RETURN_IF_ERROR(MeasureLadders(floors, nestor, report));
  RETURN_IF_ERROR(nestor.Stop());
  return MeasureSize(config, size, report);
}

absl::Status Run(const Config& config, bool only_fleet) {
  utsname system{};
  uname(&system);
  std::cout << "nestor-bench on " << std::thread::hardware_concurrency() << " cores, Linux "
            << system.release << ", data in " << config.directory << std::endl;
  Report report;
  const std::string calls = config.directory + "/calls";
  const std::string size = config.directory + "/size";
  const std::string fleet = config.directory + "/fleet";
  std::filesystem::create_directories(calls);
  std::filesystem::create_directories(size);
  std::filesystem::create_directories(fleet);
  if (!only_fleet) RETURN_IF_ERROR(MeasureServer(config, calls, size, report));
  RETURN_IF_ERROR(MeasureAgents(config, fleet, report));
  report.Write(config.json);
  return absl::OkStatus();
}

}  // namespace
}  // namespace nestor::bench

int main(int argc, char** argv) {
  nestor::bench::Config config;
  std::string echo;
  std::string creates;
  std::string batches;
  std::string hollow;
  int hollow_first = 0;
  int hollow_count = 1;
  bool only_fleet = false;
  CLI::App app("nestor-bench: Nestor's figures, each beside what this machine does without it");
  app.footer("Runs the programs beside it. scripts/bench.sh builds everything and runs this.");
  app.add_option("--directory", config.directory, "Where data goes: on the disk to be judged")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  app.add_option("--json", config.json, "File for the figures, flat keys")->capture_default_str();
  app.add_option("--seconds", config.seconds, "Time for each rate")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  app.add_option("--bindings", config.bindings, "Most bindings that memory is measured with")
      ->check(CLI::Range(1000, 10'000'000))
      ->capture_default_str();
  app.add_option("--agents", config.agents,
                 "Agents, each of 100 bindings, that a fleet is measured with")
      ->check(CLI::Range(4, 100'000))
      ->capture_default_str();
  app.add_flag("--only-fleet", only_fleet, "Measure the fleet alone");
  app.add_option("--hollow", hollow, "Only be agents of the server at this address")->group("");
  app.add_option("--hollow-first", hollow_first, "The first one's number")->group("");
  app.add_option("--hollow-count", hollow_count, "How many")->group("");
  app.add_option("--creates", creates,
                 "Only create at the server at this address, 64 in flight: for a profiler");
  app.add_option("--batches", batches,
                 "Only create --bindings at the server at this address, 1000 a batch, likewise");
  app.add_option("--echo", echo, "Only serve the echo on this address, until killed")->group("");
  CLI11_PARSE(app, argc, argv);
  nestor::StopNotingOrderOfLocks();  // as the programs that are measured
  if (!creates.empty()) return nestor::bench::RunCreates(creates, config);
  if (!batches.empty()) return nestor::bench::RunBatches(batches, config);
  if (!hollow.empty()) return nestor::bench::RunHollowAgents(hollow, hollow_first, hollow_count);
  if (!echo.empty()) return nestor::bench::RunEchoServer(echo);
  if (const absl::Status status = nestor::bench::Run(config, only_fleet); !status.ok()) {
    std::cerr << "nestor-bench: " << status << "\n";
    return 1;
  }
  return 0;
}
