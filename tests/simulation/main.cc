// nestor-simulation: whole clusters from seeds, with faults, and what must hold meanwhile.
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/simulation/cluster.h"

namespace nestor::simulation {
namespace {

struct Options {
  uint64_t first = 1;
  uint64_t seeds = 1;
  std::string flaw;
  bool trace = false;
};

std::string FlawHelp() {
  std::string help = "Make one part wrong, to see it found:";
  for (const FlawName& flaw : kFlaws) {
    absl::StrAppend(&help, "\n", flaw.name, ": ", flaw.description);
  }
  return help;
}

int Run(const Options& options) {
  const Flaw flaw = options.flaw.empty() ? Flaw::kNone : *FlawByName(options.flaw);
  uint64_t events = 0;
  for (uint64_t seed = options.first; seed < options.first + options.seeds; ++seed) {
    const RunResult result = RunSeed(seed, flaw);
    events += result.events;
    if (options.trace || !result.violation.empty()) {
      for (const std::string& line : result.trace) std::printf("%s\n", line.c_str());
    }
    if (!result.violation.empty()) {
      std::printf("seed %lu: %s\nreplay: nestor-simulation --first %lu --trace%s%s\n", seed,
                  result.violation.c_str(), seed, options.flaw.empty() ? "" : " --flaw ",
                  options.flaw.c_str());
      return 1;
    }
  }
  std::printf("seeds: %lu, events: %lu, violations: 0\n", options.seeds, events);
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Runs whole clusters of Nestor's own decisions in one thread, in virtual time, with faults\n"
      "that a seed chooses, and says which promise was broken (docs/simulation.md)."};
  app.add_option("--first", options.first, "First seed")->capture_default_str();
  app.add_option("--seeds", options.seeds, "How many seeds")->capture_default_str();
  app.add_option("--flaw", options.flaw, FlawHelp())->check([](const std::string& name) {
    return FlawByName(name).has_value() ? std::string() : "no flaw " + name;
  });
  app.add_flag("--trace", options.trace, "Print the newest lines of each seed's trace");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::off);  // the trace says more
  return Run(options);
}

}  // namespace
}  // namespace nestor::simulation

int main(int argc, char** argv) { return nestor::simulation::Main(argc, argv); }
