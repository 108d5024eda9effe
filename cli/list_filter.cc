#include "cli/list_filter.h"

#include <algorithm>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/enum_name.h"
#include "cli/nearest_name.h"
#include "nestor/v1/resources.pb.h"

namespace nestor::cli {
namespace {

absl::Status CheckApplies(Kind kind, const ListConditions& conditions) {
  auto refuse = [kind](absl::string_view option) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ", KindNoun(kind), " has nothing that ", option, " could select"));
  };
  if (!conditions.host.empty() && kind == Kind::kHost) return refuse("--host");
  if (!conditions.device.empty() && kind != Kind::kPasidBinding) return refuse("--device");
  if (!conditions.state.empty() && kind == Kind::kDevice) return refuse("--state");
  if (!conditions.selectors.empty() && kind == Kind::kDevice) return refuse("-l");
  return absl::OkStatus();
}

const google::protobuf::EnumDescriptor* StateType(Kind kind) {
  switch (kind) {
    case Kind::kHost:
      return v1::HostStatus::State_descriptor();
    case Kind::kVirtualMachine:
      return v1::VirtualMachineStatus::State_descriptor();
    default:
      return v1::PasidBindingStatus::State_descriptor();
  }
}

std::vector<std::string> States(Kind kind) {
  std::vector<std::string> states;
  // The first is UNSPECIFIED.
  for (int i = 1; i < StateType(kind)->value_count(); ++i) {
    states.push_back(ShortEnumName(*StateType(kind)->value(i)));
  }
  return states;
}

absl::StatusOr<std::string> StateTerm(Kind kind, absl::string_view state) {
  const std::string wanted = absl::AsciiStrToUpper(state);
  const std::vector<std::string> known = States(kind);
  if (std::find(known.begin(), known.end(), wanted) != known.end()) {
    return absl::StrCat("state=", wanted);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--state: unknown state \"", Printable(state), "\"", Suggestion(wanted, known)));
}

absl::StatusOr<std::string> LabelTerm(absl::string_view selector) {
  const size_t equals = selector.find('=');
  if (equals == 0 || equals == absl::string_view::npos || selector.substr(0, 2) == "!=") {
    return absl::InvalidArgumentError(
        absl::StrCat("-l ", Printable(selector), ": expected KEY=VALUE or KEY!=VALUE"));
  }
  return absl::StrCat("label.", selector);
}

}  // namespace

std::string StateChoices() {
  std::set<std::string> all;
  for (Kind kind : {Kind::kHost, Kind::kVirtualMachine, Kind::kPasidBinding}) {
    for (const std::string& state : States(kind)) all.insert(absl::AsciiStrToLower(state));
  }
  return absl::StrCat("{", absl::StrJoin(all, ","), "}");
}

absl::StatusOr<std::string> ListFilter(Kind kind, const ListConditions& conditions) {
  RETURN_IF_ERROR(CheckApplies(kind, conditions));
  std::vector<std::string> terms;
  if (!conditions.filter.empty()) terms.push_back(conditions.filter);
  if (!conditions.host.empty()) {
    ASSIGN_OR_RETURN(const std::string host, FullName(Kind::kHost, conditions.host, ""));
    terms.push_back(absl::StrCat("host=", ShortName(host)));
  }
  if (!conditions.device.empty()) terms.push_back(absl::StrCat("device=", conditions.device));
  if (!conditions.state.empty()) {
    ASSIGN_OR_RETURN(std::string term, StateTerm(kind, conditions.state));
    terms.push_back(std::move(term));
  }
  for (const std::string& selectors : conditions.selectors) {
    for (absl::string_view selector : absl::StrSplit(selectors, ',')) {
      ASSIGN_OR_RETURN(std::string term, LabelTerm(selector));
      terms.push_back(std::move(term));
    }
  }
  return absl::StrJoin(terms, " AND ");
}

}  // namespace nestor::cli
