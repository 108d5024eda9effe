// What the table of each kind of resource shows.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/names.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {

// How tables are to look.
struct TableOptions {
  // More columns (-o wide).
  bool wide = false;
  // Names with their project (-A).
  bool with_project = false;
  // For ages.
  absl::Time now;
};

std::vector<std::string> TableHeader(Kind kind, const TableOptions& options);

std::vector<std::string> TableRow(const v1::Host& host, const TableOptions& options);
std::vector<std::string> TableRow(const v1::Device& device, const TableOptions& options);
std::vector<std::string> TableRow(const v1::VirtualMachine& machine, const TableOptions& options);
std::vector<std::string> TableRow(const v1::PasidBinding& binding, const TableOptions& options);

// One word for where a binding stands, with the reason where there is one:
// "FAILED (PASID_TAKEN_ON_HOST, retried)".
std::string BindingStateText(const v1::PasidBinding& binding);

}  // namespace nestor::cli
