// The eventfds through which a monitor wants to hear a device's interrupts.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// Not thread-safe.
class InterruptTable {
 public:
  // Does what a SET_IRQS says: assigns, de-assigns or disables vectors. `data` is what
  // follows the struct. Masking is accepted and changes nothing: simulated devices raise
  // no interrupts. INVALID_ARGUMENT: not a request that vfio knows. UNIMPLEMENTED: to
  // signal a vector on the monitor's behalf, which could block on an eventfd that it fills.
  absl::Status Set(const vfio_user::SetIrqs& request, absl::string_view data,
                   std::vector<FileDescriptor> eventfds);
  // Vectors that have an eventfd.
  size_t size() const { return eventfds_.size(); }

 private:
  using Vector = std::pair<uint32_t, uint32_t>;  // index, vector

  void Assign(const vfio_user::SetIrqs& request, std::vector<FileDescriptor> eventfds);
  void Disable(uint32_t index);

  std::map<Vector, FileDescriptor> eventfds_;
};

}  // namespace nestor::agent
