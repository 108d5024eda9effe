// A real nestor-server, with what the bench asks of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"
#include "nestor/v1/virtual_machine_service.grpc.pb.h"
#include "tests/bench/closed_loop.h"
#include "tests/testing/process.h"

namespace nestor::bench {

// Closed loop of CreatePasidBinding at `address`, the echo's or a server's. Numbers bindings
// from `*next` on.
LoopResult MeasureCreates(const std::string& address, int in_flight, absl::Duration duration,
                          int machines, std::atomic<int64_t>* next);

// Machines number 0 to `count` - 1, each on a host of its own, of which there is no agent.
absl::Status CreateMachines(const std::string& address, int count);

// Bindings number `first` to `first` + `count` - 1 over `machines` machines, in batches of 1000,
// four at a time; how long that took.
absl::StatusOr<absl::Duration> CreateBatches(const std::string& address, int64_t first,
                                             int64_t count, int machines);

// Round trips of one message each way on an open Sync stream of the echo: their median.
absl::StatusOr<absl::Duration> MeasureStreamRoundTrip(const std::string& address);

class NestorUnderTest {
 public:
  // Keeps all it makes in `directory`.
  explicit NestorUnderTest(std::string directory) : directory_(std::move(directory)) {}

  // Starts the server and waits until it serves; how long that took.
  absl::StatusOr<absl::Duration> Start();
  // SIGTERM, and its end.
  absl::Status Stop();
  // Resident memory in bytes.
  absl::StatusOr<int64_t> ResidentBytes() const;
  // What all its threads have used of the processors since Start, to 10 ms.
  absl::StatusOr<absl::Duration> ProcessorTime() const;
  // As the API shows them.
  absl::StatusOr<int64_t> ProgrammedBindings() const;

  // From a CreatePasidBinding to the event of a Watch that says PROGRAMMED, one after the other,
  // on an agent with a simulated kernel and a guest. While it measures, other bindings are
  // created at `load` a second.
  struct Ladder {
    absl::Duration p50;
    absl::Duration p99;
  };
  absl::StatusOr<Ladder> MeasureLadder(int rounds, double load);

  std::string api_address() const { return "unix:" + directory_ + "/api.sock"; }
  std::string agent_address() const { return "unix:" + directory_ + "/agents.sock"; }

 private:
  absl::Status StartAgentAndGuest();

  const std::string directory_;
  std::unique_ptr<testing::Process> server_;
  std::unique_ptr<testing::Process> agent_;
  std::unique_ptr<testing::Process> guest_;
  int ladder_rounds_ = 0;
};

}  // namespace nestor::bench
