#include "cli/resource_printer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "api/support/resource_name.h"
#include "cli/message_text.h"
#include "cli/nearest_name.h"
#include "cli/table.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {
namespace {

using google::protobuf::Message;

class TablePrinter final : public ResourcePrinter {
 public:
  TablePrinter(Kind kind, const TableOptions& options, std::ostream& out)
      : kind_(kind), options_(options), out_(out), table_(out, TableHeader(kind, options)) {}

  void Print(const Message& resource) override { table_.AddRow(Row(resource)); }
  void EndPage() override {
    table_.EndPage();
    out_.flush();
  }
  void Finish(absl::string_view empty_note) override {
    table_.EndPage();
    if (table_.empty()) out_ << empty_note << '\n';
  }

 private:
  std::vector<std::string> Row(const Message& resource) const {
    switch (kind_) {
      case Kind::kHost:
        return TableRow(static_cast<const v1::Host&>(resource), options_);
      case Kind::kDevice:
        return TableRow(static_cast<const v1::Device&>(resource), options_);
      case Kind::kVirtualMachine:
        return TableRow(static_cast<const v1::VirtualMachine&>(resource), options_);
      case Kind::kPasidBinding:
        return TableRow(static_cast<const v1::PasidBinding&>(resource), options_);
    }
    return {};
  }

  const Kind kind_;
  const TableOptions options_;
  std::ostream& out_;
  Table table_;
};

class JsonPrinter final : public ResourcePrinter {
 public:
  JsonPrinter(Kind kind, bool list, std::ostream& out) : kind_(kind), list_(list), out_(out) {}

  void Print(const Message& resource) override {
    if (list_) out_ << (std::exchange(first_, false) ? "[\n" : ",\n");
    out_ << ToJson(resource, KindName(kind_));
    if (!list_) out_ << '\n';
  }
  void EndPage() override { out_.flush(); }
  void Finish(absl::string_view) override {
    if (list_) out_ << (first_ ? "[]\n" : "\n]\n");
  }

 private:
  const Kind kind_;
  const bool list_;
  std::ostream& out_;
  bool first_ = true;
};

// A mapping as an item of a YAML sequence.
std::string AsItem(absl::string_view mapping) {
  return absl::StrCat("- ", absl::StrReplaceAll(absl::StripSuffix(mapping, "\n"), {{"\n", "\n  "}}),
                      "\n");
}

class YamlPrinter final : public ResourcePrinter {
 public:
  YamlPrinter(Kind kind, bool list, std::ostream& out) : kind_(kind), list_(list), out_(out) {}

  void Print(const Message& resource) override {
    const std::string yaml = ToYaml(resource, KindName(kind_));
    out_ << (list_ ? AsItem(yaml) : yaml);
    empty_ = false;
  }
  void EndPage() override { out_.flush(); }
  void Finish(absl::string_view) override {
    if (list_ && empty_) out_ << "[]\n";
  }

 private:
  const Kind kind_;
  const bool list_;
  std::ostream& out_;
  bool empty_ = true;
};

}  // namespace

absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view word) {
  if (word == "table") return OutputFormat::kTable;
  if (word == "wide") return OutputFormat::kWide;
  if (word == "json") return OutputFormat::kJson;
  if (word == "yaml") return OutputFormat::kYaml;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown output format \"", Printable(word), "\"",
                   Suggestion(word, {"table", "wide", "json", "yaml"})));
}

std::unique_ptr<ResourcePrinter> MakeResourcePrinter(OutputFormat format, Kind kind, bool list,
                                                     const TableOptions& options,
                                                     std::ostream& out) {
  TableOptions table_options = options;
  table_options.wide = format == OutputFormat::kWide;
  switch (format) {
    case OutputFormat::kTable:
    case OutputFormat::kWide:
      return std::make_unique<TablePrinter>(kind, table_options, out);
    case OutputFormat::kJson:
      return std::make_unique<JsonPrinter>(kind, list, out);
    case OutputFormat::kYaml:
      return std::make_unique<YamlPrinter>(kind, list, out);
  }
  return nullptr;
}

}  // namespace nestor::cli
