// What nestor-guest understands: one command a line, one answer a line.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/guest/guest.h"

namespace nestor::guest {

// Has a guest's devices do DMA as told. PASID is a number, or - for none; addresses may be
// hexadecimal (0x...); BDF may be left out where the guest has one device.
//
//   dma-read PASID ADDRESS LENGTH [BDF]     ok TEXT | ok 0xHEX | fault REASON 0xADDRESS
//   dma-write PASID ADDRESS TEXT [BDF]      ok | fault REASON 0xADDRESS
//   expect PASID ADDRESS TEXT [BDF]         ok TEXT | mismatch TEXT | fault REASON 0xADDRESS
//   remap ROOT ADDRESS TEXT                 ok: the page there is now another, with TEXT
//   storm PASID ADDRESS TEXT COUNT [BDF]    ok dmas=N faults=N mismatches=N
//
// What was read is shown as text where all of it, but for zeros at its end, is printable.
// Anything that could not be done is answered "error WHY". Not thread-safe.
class GuestConsole {
 public:
  // `devices`: the guest's, connected. `guest` must outlive this.
  GuestConsole(Guest& guest, std::vector<std::string> devices)
      : guest_(guest), devices_(std::move(devices)) {}

  // The answer to one line, without its newline.
  std::string Execute(absl::string_view line);

 private:
  using Words = std::vector<std::string>;

  absl::StatusOr<std::string> Dispatch(const Words& words);
  absl::StatusOr<std::string> Read(const Words& words, const std::string& device);
  absl::StatusOr<std::string> Write(const Words& words, const std::string& device);
  absl::StatusOr<std::string> Expect(const Words& words, const std::string& device);
  absl::StatusOr<std::string> Remap(const Words& words, const std::string& device);
  absl::StatusOr<std::string> Storm(const Words& words, const std::string& device);

  Guest& guest_;
  const std::vector<std::string> devices_;
};

}  // namespace nestor::guest
