// Small pieces of what people see.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// `text` with everything but printable ASCII shown as \xNN, so that what a server sends
// cannot steer the terminal.
std::string TerminalSafe(absl::string_view text);

// "2026-01-31 09:30:05.123 UTC"; "-" where unset.
std::string TimeText(const google::protobuf::Timestamp& time);

// How long ago, in its largest unit: "45s", "3m", "5h", "12d"; "-" where unset.
std::string AgeText(const google::protobuf::Timestamp& time, absl::Time now);

// "1.5ms".
std::string DurationText(const google::protobuf::Duration& duration);

// "0x12345000"; "-" for 0.
std::string AddressText(uint64_t address);

// "-" where empty.
std::string OrDash(absl::string_view text);

// What a binding asks for: "pasid 5", "any of 5-9", "rid"; "-" where nothing.
std::string TargetText(const v1::PasidBindingSpec& spec);

// "EBUSY from VFIO_IOMMU_NESTING_OP(BIND_PGTBL) on 0000:3b:00.0 pasid 5".
std::string KernelErrorText(const v1::KernelError& error);

}  // namespace nestor::cli
