// nestor-chaos: a cluster of real processes on this machine, under faults.
#include <CLI/CLI.hpp>

#include <cstdio>

#include "tests/chaos/chaos.h"

namespace nestor::chaos {
namespace {

void Print(const Report& report) {
  int faults = 0;
  std::string kinds;
  for (const auto& [name, count] : report.faults) {
    faults += count;
    kinds += (kinds.empty() ? "" : ", ") + name + " " + std::to_string(count);
  }
  for (const std::string& line : report.lost) std::printf("lost: %s\n", line.c_str());
  for (const std::string& line : report.unconverged) {
    std::printf("not as intended: %s\n", line.c_str());
  }
  std::printf("faults injected: %d (%s)\n", faults, kinds.c_str());
  std::printf("intents acknowledged: %ld, lost: %zu\n", report.acknowledged, report.lost.size());
  std::printf("DMAs: %ld, faults: %ld\n", report.dmas, report.dma_faults);
  if (report.unconverged.empty()) {
    std::printf("all as intended %.1f s after the last fault\n",
                absl::ToDoubleSeconds(report.convergence));
  }
}

int Main(int argc, char** argv) {
  Options options;
  int seconds = 60;
  bool disk = true;
  CLI::App app{
      "Runs a server, agents, shims, simulated kernels and guests as processes on this machine,\n"
      "and kills, stops, cuts off and starves them, while guests DMA and clients change bindings."};
  app.add_option("--seconds", seconds, "How long there are faults")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
  app.add_option("--seed", options.seed, "Chooses the faults and what clients do")
      ->capture_default_str();
  app.add_option("--hosts", options.hosts, "Hosts")
      ->capture_default_str()
      ->check(CLI::Range(1, 16));
  app.add_flag("!--no-full-disk", disk, "Leave the server's disk alone");
  app.footer("Exit codes: 0 nothing was lost, no DMA failed and all is as intended; 1 otherwise.");
  CLI11_PARSE(app, argc, argv);
  options.time = absl::Seconds(seconds);
  options.full_disk = disk;
  const Report report = Chaos(options).Run();
  Print(report);
  return report.ok() ? 0 : 1;
}

}  // namespace
}  // namespace nestor::chaos

int main(int argc, char** argv) { return nestor::chaos::Main(argc, argv); }
