// Resources and golden files for the tests of this folder.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// The time at which ages are taken: 2026-01-31 12:00:00 UTC.
absl::Time SampleNow();

// A connected host with an orphan, and one that was never seen.
std::vector<v1::Host> SampleHosts();
// A usable device, and one without nesting.
std::vector<v1::Device> SampleDevices();
// A running machine, and one that waits for its monitor.
std::vector<v1::VirtualMachine> SampleMachines();
// One programmed, one retried, one failed for good, one just stored.
std::vector<v1::PasidBinding> SampleBindings();
// The explanation of the binding that failed for good.
v1::ExplainPasidBindingResponse SampleExplanation();
// The timeline of a binding that failed, whose host was silent for a while.
v1::GetPasidBindingTimelineResponse SampleTimeline();

// Compares `actual` with cli/testdata/`name`. With NESTOR_UPDATE_GOLDEN in the environment
// the file is written instead.
void ExpectGolden(absl::string_view name, const std::string& actual);

}  // namespace nestor::cli
