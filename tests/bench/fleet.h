// What a fleet of agents costs one server.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/bench/nestor_under_test.h"

namespace nestor::bench {

struct FleetFigures {
  // From the start of agents that hold nothing until the API shows every binding PROGRAMMED.
  absl::Duration cold;
  // From the start of the server until all agents, which hold all bindings, have their sessions.
  absl::Duration reconnect;
  // That the server grew by from all bindings stored to all programmed.
  double bytes_per_agent = 0;
  // Of one core, while nothing changes and leases are renewed.
  double idle_cpu = 0;
};

// `agents` hollow agents in four processes, with one machine of `bindings` bindings each. Starts
// and stops `nestor`, whose store is to be empty.
absl::StatusOr<FleetFigures> MeasureFleet(NestorUnderTest& nestor, const std::string& directory,
                                          int agents, int bindings);

}  // namespace nestor::bench
