// Writes resources in the form that -o asked for.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <ostream>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/names.h"
#include "cli/resource_table.h"

namespace nestor::cli {

enum class OutputFormat { kTable, kWide, kJson, kYaml };

// Reads the value of -o. INVALID_ARGUMENT with a suggestion for any other word.
absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view word);

// Takes resources of one kind one by one and writes them; memory is bounded by one page.
class ResourcePrinter {
 public:
  virtual ~ResourcePrinter() = default;
  // `resource` is of the kind that the printer was made for.
  virtual void Print(const google::protobuf::Message& resource) = 0;
  // A page of resources is complete.
  virtual void EndPage() = 0;
  // No more resources follow. `empty_note` is what a table shows where there were none.
  virtual void Finish(absl::string_view empty_note) = 0;
};

// A printer onto `out`, which must outlive it. JSON and YAML give one document: the resource,
// or where `list` all of them in one array; until Finish it is not complete.
std::unique_ptr<ResourcePrinter> MakeResourcePrinter(OutputFormat format, Kind kind, bool list,
                                                     const TableOptions& options,
                                                     std::ostream& out);

}  // namespace nestor::cli
