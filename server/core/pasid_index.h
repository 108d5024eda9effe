// Which PASIDs of one host are held, on which device and by whom.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace nestor::server {

// A claim on a device or on a PASID of a device.
struct ClaimRecord {
  std::string holder;    // resource name; empty: nobody holds it
  int64_t revision = 0;  // mod_revision of the claim; 0: there is none
};

// Not thread-safe.
class PasidIndex {
 public:
  void Insert(absl::string_view bdf, uint32_t pasid, ClaimRecord claim);
  void Erase(absl::string_view bdf, uint32_t pasid);

  ClaimRecord Find(absl::string_view bdf, uint32_t pasid) const;
  // The lowest PASID from `first` on that is free on the device, or (empty bdf) on every
  // device; what is in `released` counts as free. It may lie above what any device takes.
  uint32_t NextFree(absl::string_view bdf, uint32_t first, const PasidIndex& released) const;

 private:
  using Holders = std::map<std::string, ClaimRecord, std::less<>>;  // by BDF

  bool Has(absl::string_view bdf, uint32_t pasid) const;

  std::map<uint32_t, Holders> pasids_;
};

}  // namespace nestor::server
