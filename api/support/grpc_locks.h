#pragma once

namespace nestor {

// Debian's Abseil and gRPC are built with their debugging: they note the order in which all their
// locks are taken in one graph under one lock. This has them stop (docs/performance.md). For
// programs that serve; to be called before gRPC is used.
void StopNotingOrderOfLocks();

}  // namespace nestor
