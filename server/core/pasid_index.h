// Which PASIDs of one host are held, on which device and by whom.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
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
  PasidIndex() = default;
  PasidIndex(PasidIndex&&) = default;
  PasidIndex& operator=(PasidIndex&&) = default;

  void Insert(absl::string_view bdf, uint32_t pasid, const ClaimRecord& claim);
  void Erase(absl::string_view bdf, uint32_t pasid);

  ClaimRecord Find(absl::string_view bdf, uint32_t pasid) const;
  // The lowest PASID from `first` on that is free on the device, or (empty bdf) on every
  // device; what is in `released` counts as free. It may lie above what any device takes.
  uint32_t NextFree(absl::string_view bdf, uint32_t first, const PasidIndex& released) const;

 private:
  // Where the names of holders lie that differ in the last part only, with how many do.
  using Parents = std::map<std::string, size_t, std::less<>>;

  struct Key {
    uint32_t pasid;
    uint32_t device;  // index into devices_
    auto operator<=>(const Key&) const = default;
  };
  struct Claim {
    Parents::iterator parent;
    std::string id;  // the last part of the holder's name
    int64_t revision;
  };

  std::optional<uint32_t> NumberOf(absl::string_view bdf) const;
  bool Has(absl::string_view bdf, uint32_t pasid) const;
  void ForgetHolder(const Claim& claim);

  std::vector<std::string> devices_;  // BDFs, as they came
  absl::flat_hash_map<std::string, uint32_t> numbers_;
  Parents parents_;
  absl::btree_map<Key, Claim> claims_;
};

}  // namespace nestor::server
