#include "agent/vfio/backend_choice.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "agent/kernel/unique_fd.h"
#include "agent/vfio/iommufd_backend.h"
#include "agent/vfio/pci_inventory.h"
#include "agent/vfio/type1_backend.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

bool AnyNests(IommuBackend& backend, const std::vector<PciFunction>& functions) {
  return absl::c_any_of(functions, [&](const PciFunction& function) {
    const auto capabilities = backend.Probe(function.bdf);
    return capabilities.ok() && capabilities->granularity != NestGranularity::kNone;
  });
}

// Opening it loads the module, where there is one.
bool HasIommufd(kernel::Syscalls& syscalls) {
  const kernel::UniqueFd fd(syscalls, syscalls.Open("/dev/iommu", O_RDWR));
  return fd.get() >= 0 || fd.get() == -EACCES || fd.get() == -EPERM;
}

}  // namespace

absl::StatusOr<ChosenBackend> ChooseBackend(kernel::Syscalls& syscalls, BackendChoice choice) {
  auto iommufd = std::make_unique<IommufdBackend>(syscalls);
  auto type1 = std::make_unique<Type1Backend>(syscalls);
  if (choice == BackendChoice::kIommufd) return ChosenBackend{std::move(iommufd), "as asked for"};
  if (choice == BackendChoice::kType1) return ChosenBackend{std::move(type1), "as asked for"};
  ASSIGN_OR_RETURN(const std::vector<PciFunction> functions,
                   ListPciFunctions(syscalls, PciFilter::kVfio));
  if (AnyNests(*iommufd, functions)) return ChosenBackend{std::move(iommufd), "devices nest by it"};
  if (AnyNests(*type1, functions)) return ChosenBackend{std::move(type1), "devices nest by it"};
  if (HasIommufd(syscalls)) {
    return ChosenBackend{std::move(iommufd), "no device nests, the host has /dev/iommu"};
  }
  return ChosenBackend{std::move(type1), "no device nests, the host has no /dev/iommu"};
}

}  // namespace nestor::agent
