#include "tests/guest/guest_console.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "agent/kernel/dma_engine_registers.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

constexpr uint32_t kMaxStorm = 1'000'000;

template <typename T>
absl::StatusOr<T> ParseNumber(const std::string& text, const char* what) {
  T value = 0;
  const bool is_number = absl::StartsWith(text, "0x") ? absl::SimpleHexAtoi(text, &value)
                                                      : absl::SimpleAtoi(text, &value);
  if (!is_number) return absl::InvalidArgumentError(absl::StrCat(what, " ", text, ": no number"));
  return value;
}

// Where a command's DMA goes: its first two words.
struct Target {
  std::optional<uint32_t> pasid;
  uint64_t address = 0;
};

absl::StatusOr<Target> ParseTarget(const std::vector<std::string>& words) {
  Target target;
  if (words[1] != "-") {
    ASSIGN_OR_RETURN(target.pasid, ParseNumber<uint32_t>(words[1], "PASID"));
  }
  ASSIGN_OR_RETURN(target.address, ParseNumber<uint64_t>(words[2], "address"));
  return target;
}

std::string FaultAnswer(const DmaFault& fault) {
  return absl::StrCat("fault ", kernel::FaultReasonName(fault.reason), " 0x",
                      absl::Hex(fault.address));
}

std::string ShowBytes(absl::string_view bytes) {
  const size_t end = bytes.find_last_not_of('\0');
  const absl::string_view text = bytes.substr(0, end == absl::string_view::npos ? 0 : end + 1);
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isprint(c); });
  if (printable && !text.empty()) return std::string(text);
  return absl::StrCat("0x", absl::BytesToHexString(bytes));
}

}  // namespace

std::string GuestConsole::Execute(absl::string_view line) {
  const Words words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  const auto answer = Dispatch(words);
  if (answer.ok()) return *answer;
  return absl::StrCat("error ", absl::StrReplaceAll(answer.status().message(), {{"\n", " "}}));
}

absl::StatusOr<std::string> GuestConsole::Dispatch(const Words& words) {
  struct Verb {
    const char* name;
    size_t words;  // without the device
    absl::StatusOr<std::string> (GuestConsole::*run)(const Words&, const std::string&);
  };
  static constexpr Verb kVerbs[] = {{"dma-read", 4, &GuestConsole::Read},
                                    {"dma-write", 4, &GuestConsole::Write},
                                    {"expect", 4, &GuestConsole::Expect},
                                    {"remap", 4, &GuestConsole::Remap},
                                    {"storm", 5, &GuestConsole::Storm}};
  for (const Verb& verb : kVerbs) {
    if (words.empty() || words[0] != verb.name) continue;
    if (words.size() == verb.words + 1) return (this->*verb.run)(words, words.back());
    if (words.size() != verb.words) {
      return absl::InvalidArgumentError(
          absl::StrCat(verb.name, " takes ", verb.words - 1, " words, and a device"));
    }
    if (devices_.size() != 1) return absl::InvalidArgumentError("which device? Add its BDF");
    return (this->*verb.run)(words, devices_[0]);
  }
  return absl::InvalidArgumentError("dma-read, dma-write, expect, remap, storm or quit?");
}

absl::StatusOr<std::string> GuestConsole::Read(const Words& words, const std::string& device) {
  ASSIGN_OR_RETURN(const Target target, ParseTarget(words));
  ASSIGN_OR_RETURN(const auto size, ParseNumber<uint32_t>(words[3], "length"));
  ASSIGN_OR_RETURN(const DmaResult result,
                   guest_.DmaRead(device, target.pasid, target.address, size));
  if (result.fault) return FaultAnswer(*result.fault);
  return absl::StrCat("ok ", ShowBytes(result.data));
}

absl::StatusOr<std::string> GuestConsole::Remap(const Words& words, const std::string&) {
  ASSIGN_OR_RETURN(const auto root, ParseNumber<uint64_t>(words[1], "root"));
  ASSIGN_OR_RETURN(const auto address, ParseNumber<uint64_t>(words[2], "address"));
  RETURN_IF_ERROR(guest_.RemapText({root}, address, words[3]));
  return "ok";
}

absl::StatusOr<std::string> GuestConsole::Write(const Words& words, const std::string& device) {
  ASSIGN_OR_RETURN(const Target target, ParseTarget(words));
  ASSIGN_OR_RETURN(const DmaResult result,
                   guest_.DmaWrite(device, target.pasid, target.address, words[3]));
  return result.fault ? FaultAnswer(*result.fault) : "ok";
}

absl::StatusOr<std::string> GuestConsole::Expect(const Words& words, const std::string& device) {
  ASSIGN_OR_RETURN(const Target target, ParseTarget(words));
  const std::string& wanted = words[3];
  ASSIGN_OR_RETURN(const DmaResult result, guest_.DmaRead(device, target.pasid, target.address,
                                                          static_cast<uint32_t>(wanted.size())));
  if (result.fault) return FaultAnswer(*result.fault);
  return absl::StrCat(result.data == wanted ? "ok " : "mismatch ", ShowBytes(result.data));
}

absl::StatusOr<std::string> GuestConsole::Storm(const Words& words, const std::string& device) {
  ASSIGN_OR_RETURN(const Target target, ParseTarget(words));
  const std::string& wanted = words[3];
  ASSIGN_OR_RETURN(const auto count, ParseNumber<uint32_t>(words[4], "count"));
  if (count > kMaxStorm) {
    return absl::InvalidArgumentError(absl::StrCat("at most ", kMaxStorm, " DMAs at a time"));
  }
  uint32_t faults = 0;
  uint32_t mismatches = 0;
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const DmaResult result, guest_.DmaRead(device, target.pasid, target.address,
                                                            static_cast<uint32_t>(wanted.size())));
    if (result.fault) {
      ++faults;
    } else if (result.data != wanted) {
      ++mismatches;
    }
  }
  return absl::StrCat("ok dmas=", count, " faults=", faults, " mismatches=", mismatches);
}

}  // namespace nestor::guest
