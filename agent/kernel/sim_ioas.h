// I/O address spaces of an iommufd.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "agent/kernel/sim_iommufd_object.h"
#include "agent/kernel/sim_iova_ranges.h"
#include "agent/kernel/sim_pinned_pages.h"
#include "agent/kernel/sim_stage2.h"

namespace nestor::kernel {

struct SimSystem;

// What is mapped where, and the page tables that show it. Rules are iommufd's: mappings are
// removed as they were made, never cut; until there is a page table there is no alignment, and
// addresses are reserved only once a page table or a device says so. Results are 0 or -errno.
class SimIoas final : public SimIommufdObject {
 public:
  struct Rights {
    bool readable = false;
    bool writable = false;
  };

  // `system` must outlive this.
  explicit SimIoas(SimSystem& system);
  ~SimIoas() override;

  const SimStage2& stage2() const { return stage2_; }
  uint64_t alignment() const;
  // What may be mapped.
  std::vector<SimIovaRange> Usable() const;
  // Confines addresses that are chosen to `ranges`, and keeps them free of devices' windows.
  // -EADDRINUSE: one of them is reserved already.
  int Allow(std::vector<SimIovaRange> ranges);

  // -EINVAL: length 0, not aligned, or reserved; -EEXIST: something is mapped there;
  // -EOVERFLOW: beyond 2^64; -EPERM: pages that must not be written; -EFAULT: pages that are
  // not there, which is looked at once there is a page table.
  int Map(uint64_t iova, uint64_t length, std::shared_ptr<SimPinnedPages> pages, Rights rights);
  // The same of what `source` has at [source_iova, source_iova + length). -ENOENT: not all of it
  // is mapped.
  int Copy(uint64_t iova, uint64_t length, const SimIoas& source, uint64_t source_iova,
           Rights rights);
  // The lowest place for `length` bytes. -ENOSPC: there is none; -EINVAL: length 0.
  int ChooseIova(uint64_t length, uint64_t* iova) const;
  // -ENOENT: nothing is mapped in [first, last], or it cuts a mapping; those before it are
  // gone then.
  int Unmap(uint64_t first, uint64_t last, uint64_t* unmapped);

  // A page table shows the address space from now on. -EADDRINUSE: a mapping is beyond its
  // reach or not aligned; -EINVAL: read-only mappings under a nest parent of VT-d; -EFAULT.
  int AddPageTable(bool is_nest_parent);
  void RemovePageTable(bool is_nest_parent);
  // A device without a PASID uses it. -EADDRINUSE: a mapping is in its reserved window.
  int AddDevice();
  void RemoveDevice() { --devices_; }

  // Whether a mapping goes through a process's addresses.
  bool HasProcessMemory() const;

 private:
  struct Area {
    uint64_t length = 0;
    std::shared_ptr<SimPinnedPages> pages;
    uint64_t offset = 0;  // in them
    Rights rights;
  };
  using Areas = std::map<uint64_t, Area>;  // by IOVA; they do not overlap

  std::vector<SimIovaRange> Reserved() const;
  int CheckPlace(uint64_t iova, uint64_t length) const;
  int CheckArea(const Area& area) const;
  bool IsAligned(uint64_t iova, const Area& area, uint64_t alignment) const;
  bool HasAreaIn(const SimIovaRange& range) const { return FirstIn(range) != areas_.end(); }
  Areas::const_iterator FirstIn(const SimIovaRange& range) const;
  void Insert(uint64_t iova, Area area);
  // Whether VT-d's erratum 772415 forbids read-only mappings here.
  bool MustBeWritable() const;

  SimSystem& system_;
  SimStage2 stage2_;
  Areas areas_;
  std::vector<SimIovaRange> allowed_;
  int page_tables_ = 0;
  int nest_parents_ = 0;
  int devices_ = 0;
};

}  // namespace nestor::kernel
