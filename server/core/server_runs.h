// The runs of the server over one store, as far as hosts were told something in them.
//
// A store that is brought back from a copy goes on from the copy's revision, and soon passes
// what a host was told before. So the store remembers at which revision each run ended: a host
// that was told more by that run was told it by a store that is lost
// (docs/adr/0005-rollback-of-the-store.md).
#pragma once

#include <cstdint>
#include <vector>

#include "server/store/store.h"

namespace nestor::server {

// What the store holds as a run begins.
struct RunsBefore {
  int64_t head_revision = 0;
  std::vector<int64_t> run_ends;         // ascending
  std::vector<int64_t> epoch_revisions;  // the newest epoch of each host; any order
};

// Writes that the run before ended at the head, and forgets the runs of which no host has its
// newest epoch: at most one end is kept for each host. Changes nothing where no host was told
// anything since the last end.
Transaction BeginRun(const RunsBefore& before);

}  // namespace nestor::server
