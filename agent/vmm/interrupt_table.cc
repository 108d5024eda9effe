#include "agent/vmm/interrupt_table.h"

#include "absl/strings/str_cat.h"

namespace nestor::agent {
namespace {

using vfio_user::SetIrqs;

// MSI-X has at most so many vectors (PCI Express 6.0, 7.7.2: an 11-bit table size).
constexpr uint32_t kMaxVectors = 2048;
constexpr uint32_t kDataMask =
    vfio_user::kIrqDataNone | vfio_user::kIrqDataBool | vfio_user::kIrqDataEventfd;
constexpr uint32_t kActionMask =
    vfio_user::kIrqActionMask | vfio_user::kIrqActionUnmask | vfio_user::kIrqActionTrigger;

bool IsOneBit(uint32_t bits) { return bits != 0 && (bits & (bits - 1)) == 0; }

absl::Status Check(const SetIrqs& request, absl::string_view data, size_t eventfds) {
  const uint32_t kind = request.flags & kDataMask;
  if (!IsOneBit(kind) || !IsOneBit(request.flags & kActionMask) ||
      (request.flags & ~(kDataMask | kActionMask)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("SET_IRQS with flags ", request.flags));
  }
  if (request.index >= vfio_user::kPciIrqs || request.start > kMaxVectors ||
      request.count > kMaxVectors - request.start) {
    return absl::InvalidArgumentError(absl::StrCat("SET_IRQS of ", request.count, " vectors from ",
                                                   request.start, " of index ", request.index));
  }
  const size_t bools = kind == vfio_user::kIrqDataBool ? request.count : 0;
  const bool takes_eventfds = kind == vfio_user::kIrqDataEventfd;
  if (data.size() != bools || (eventfds != 0 && !takes_eventfds) ||
      (eventfds != 0 && eventfds != request.count)) {
    return absl::InvalidArgumentError(absl::StrCat("SET_IRQS of ", request.count, " vectors with ",
                                                   data.size(), " bytes and ", eventfds,
                                                   " descriptors"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InterruptTable::Set(const SetIrqs& request, absl::string_view data,
                                 std::vector<FileDescriptor> eventfds) {
  if (auto status = Check(request, data, eventfds.size()); !status.ok()) return status;
  if ((request.flags & vfio_user::kIrqActionTrigger) == 0) return absl::OkStatus();
  if ((request.flags & vfio_user::kIrqDataEventfd) != 0) {
    Assign(request, std::move(eventfds));
  } else if (request.count == 0) {
    Disable(request.index);
  } else {
    return absl::UnimplementedError("SET_IRQS that signals vectors");
  }
  return absl::OkStatus();
}

void InterruptTable::Assign(const SetIrqs& request, std::vector<FileDescriptor> eventfds) {
  for (uint32_t i = 0; i < request.count; ++i) {
    const Vector vector{request.index, request.start + i};
    if (eventfds.empty()) {
      eventfds_.erase(vector);
    } else {
      eventfds_[vector] = std::move(eventfds[i]);
    }
  }
}

void InterruptTable::Disable(uint32_t index) {
  eventfds_.erase(eventfds_.lower_bound({index, 0}), eventfds_.lower_bound({index + 1, 0}));
}

}  // namespace nestor::agent
