// The options that a kernel was built with, of those that nesting needs. Pure.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nestor/v1/host_check.pb.h"

namespace nestor::agent {

// The options that nesting by a kernel interface needs (type1: on VT-d), all of unknown value.
// `backend`: IommuBackend::name().
std::vector<v1::KernelOption> NeededKernelOptions(absl::string_view backend);

// The same with their values by the text of a .config. One that the text does not set is
// off: a kernel without the option leaves it out.
std::vector<v1::KernelOption> ParseKernelConfig(absl::string_view config,
                                                absl::string_view backend);

// Unpacks a gzip file such as /proc/config.gz. DATA_LOSS: it is none, is cut off, or holds
// more than 8 MiB.
absl::StatusOr<std::string> Gunzip(absl::string_view packed);

}  // namespace nestor::agent
