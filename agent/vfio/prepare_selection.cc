#include "agent/vfio/prepare_selection.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nestor::agent {
namespace {

// "0000:3b:00.0" with each hexadecimal digit in lower case and `pattern`'s x for it.
bool HasForm(absl::string_view text, absl::string_view pattern) {
  return std::equal(
      text.begin(), text.end(), pattern.begin(), pattern.end(), [](char letter, char form) {
        const bool is_digit = absl::ascii_isxdigit(letter) && !absl::ascii_isupper(letter);
        return form == 'x' ? is_digit : letter == form;
      });
}

uint16_t Hex(absl::string_view text) {
  uint32_t value = 0;
  (void)absl::SimpleHexAtoi(text, &value);  // of four digits
  return static_cast<uint16_t>(value);
}

}  // namespace

bool PrepareSelection::Selects(const PciFunction& function) const {
  if (devices.contains(function.bdf)) return true;
  return !IsBridge(function) && models.contains({function.vendor_id, function.device_id});
}

absl::StatusOr<PrepareSelection> ParsePrepareSelection(const std::vector<std::string>& texts) {
  PrepareSelection selection;
  for (const std::string& text : texts) {
    if (HasForm(text, "xxxx:xx:xx.x")) {
      selection.devices.insert(text);
    } else if (HasForm(text, "xxxx:xxxx")) {
      const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
      selection.models.emplace(Hex(parts[0]), Hex(parts[1]));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text,
                       "\" is neither a PCI address, such as 0000:3b:00.0, nor a "
                       "vendor and device, such as 8086:0b25"));
    }
  }
  return selection;
}

}  // namespace nestor::agent
