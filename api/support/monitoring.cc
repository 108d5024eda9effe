#include "api/support/monitoring.h"

#include <civetweb.h>
#include <prometheus/gauge.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nestor {
namespace {

// Fields of /proc/self/stat, counted from the one after the name (proc(5)).
constexpr size_t kUserTime = 11;
constexpr size_t kSystemTime = 12;
constexpr size_t kStartTime = 19;
constexpr size_t kResidentPages = 21;

std::vector<std::string> ReadProcessStatus() {
  std::string line;
  std::getline(std::ifstream("/proc/self/stat"), line);
  // The name may hold anything, but its closing parenthesis is the last of the line.
  const size_t end = line.rfind(')');
  return absl::StrSplit(line.substr(end == std::string::npos ? 0 : end + 2), ' ');
}

double Number(const std::vector<std::string>& fields, size_t index) {
  double value = 0;
  if (index < fields.size()) static_cast<void>(absl::SimpleAtod(fields[index], &value));
  return value;
}

double BootTime() {
  std::ifstream file("/proc/stat");
  double seconds = 0;
  for (std::string word; file >> word;) {
    if (word == "btime" && file >> seconds) break;
  }
  return seconds;
}

prometheus::MetricFamily Single(const std::string& name, const std::string& help,
                                prometheus::MetricType type, double value) {
  prometheus::MetricFamily family{name, help, type, {}};
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return family;
}

std::vector<prometheus::MetricFamily> CollectProcess() {
  const std::vector<std::string> status = ReadProcessStatus();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::error_code error;
  double open_files = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++open_files;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  using prometheus::MetricType;
  return {
      Single("process_cpu_seconds_total", "User and system time used.", MetricType::Counter,
             (Number(status, kUserTime) + Number(status, kSystemTime)) / ticks),
      Single("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
             Number(status, kResidentPages) * static_cast<double>(sysconf(_SC_PAGESIZE))),
      Single("process_open_fds", "Open file descriptors.", MetricType::Gauge, open_files),
      Single("process_max_fds", "Most file descriptors that may be open.", MetricType::Gauge,
             static_cast<double>(files.rlim_cur)),
      Single("process_start_time_seconds", "When the process began, in Unix time.",
             MetricType::Gauge, BootTime() + Number(status, kStartTime) / ticks),
  };
}

int Answer(mg_connection* connection, int code, const char* type, const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
            "\r\n",
            code, mg_get_response_code_text(connection, code), type, body.size());
  mg_write(connection, body.data(), body.size());
  return code;
}

constexpr char kPlain[] = "text/plain; charset=utf-8";

int AnswerMetrics(mg_connection* connection, void* metrics) {
  auto families = static_cast<const prometheus::Collectable*>(metrics)->Collect();
  for (auto& family : CollectProcess()) families.push_back(std::move(family));
  return Answer(connection, 200, "text/plain; version=0.0.4; charset=utf-8",
                prometheus::TextSerializer().Serialize(families));
}

int AnswerHealth(mg_connection* connection, void*) {
  return Answer(connection, 200, kPlain, "ok\n");
}

int AnswerReady(mg_connection* connection, void* ready) {
  return (*static_cast<const std::function<bool()>*>(ready))()
             ? Answer(connection, 200, kPlain, "ready\n")
             : Answer(connection, 503, kPlain, "not ready\n");
}

int AnswerUnknown(mg_connection* connection, void*) {
  return Answer(connection, 404, kPlain, "not found; try /metrics, /healthz or /readyz\n");
}

// The HTTP server's own complaints go to the log of whoever starts it.
int TakeMessage(const mg_connection*, const char*) { return 1; }

}  // namespace

void AddBuildInfo(prometheus::Registry& registry, const std::string& program,
                  const std::string& version) {
  prometheus::BuildGauge()
      .Name("nestor_build_info")
      .Help("Always 1; the labels say what runs.")
      .Register(registry)
      .Add({{"program", program}, {"version", version}})
      .Set(1);
}

absl::StatusOr<std::unique_ptr<MonitoringServer>> MonitoringServer::Start(
    const std::string& address, const prometheus::Collectable& metrics,
    std::function<bool()> ready) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address \"", address, "\" is not HOST:PORT, e.g. 127.0.0.1:9464"));
  }
  std::unique_ptr<MonitoringServer> server(new MonitoringServer(metrics, std::move(ready)));
  const std::array<const char*, 7> options = {
      "listening_ports",    address.c_str(), "num_threads", "2",
      "request_timeout_ms", "10000",         nullptr};
  mg_callbacks callbacks{};
  callbacks.log_message = TakeMessage;
  server->context_ = mg_start(&callbacks, nullptr, const_cast<const char**>(options.data()));
  mg_server_port port{};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &port) != 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot listen on ", address, " for metrics: it is taken, or no address of this host"));
  }
  server->address_ = absl::StrCat(address.substr(0, colon), ":", port.port);
  // The first that matches answers, so the narrow ones come first.
  mg_set_request_handler(server->context_, "/metrics$", AnswerMetrics,
                         const_cast<prometheus::Collectable*>(&server->metrics_));
  mg_set_request_handler(server->context_, "/healthz$", AnswerHealth, nullptr);
  mg_set_request_handler(server->context_, "/readyz$", AnswerReady,
                         const_cast<std::function<bool()>*>(&server->ready_));
  mg_set_request_handler(server->context_, "/", AnswerUnknown, nullptr);
  return server;
}

MonitoringServer::~MonitoringServer() {
  if (context_ != nullptr) mg_stop(context_);
}

}  // namespace nestor
