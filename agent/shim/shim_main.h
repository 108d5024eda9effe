// The program nestor-shim, apart from what a test may put into its backend.
#pragma once

#include <functional>
#include <memory>

#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

// What stands between the shim and its kernel interface.
using WrapBackend = std::function<std::unique_ptr<IommuBackend>(IommuBackend& backend)>;

// main: runs until an agent retires the shim; the exit code. `wrap` may be empty.
int RunShimProgram(int argc, char** argv, const WrapBackend& wrap);

}  // namespace nestor::agent
