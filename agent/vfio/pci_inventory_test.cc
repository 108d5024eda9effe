#include "agent/vfio/pci_inventory.h"

#include <cerrno>
#include <map>

#include "agent/core/kernel_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A tree of files, links and directories in memory; there are no devices in it.
class FakeSysfs final : public kernel::Syscalls {
 public:
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> links;
  std::map<std::string, std::vector<std::string>> directories;
  std::map<std::string, int> errors;  // path to -errno

  void AddFunction(const Bdf& bdf, const std::string& class_code, const std::string& driver,
                   int group) {
    const std::string path = "/sys/bus/pci/devices/" + bdf;
    directories["/sys/bus/pci/devices"].push_back(bdf);
    files[path + "/vendor"] = "0x8086\n";
    files[path + "/device"] = "0x0b25\n";
    files[path + "/class"] = class_code + "\n";
    files[path + "/numa_node"] = "1\n";
    files[path + "/config"] = std::string(4096, '\0');
    if (!driver.empty()) links[path + "/driver"] = "../../../bus/pci/drivers/" + driver;
    if (group < 0) return;
    const std::string group_name = std::to_string(group);
    links[path + "/iommu_group"] = "../../../kernel/iommu_groups/" + group_name;
    directories["/sys/kernel/iommu_groups/" + group_name + "/devices"].push_back(bdf);
  }

  int Open(const std::string&, int) override { return -ENOENT; }
  int Close(int) override { return -EBADF; }
  int Ioctl(int, unsigned long, uint64_t) override { return -EBADF; }  // NOLINT: kernel's type
  ssize_t Pread(int, void*, size_t, uint64_t) override { return -EBADF; }
  ssize_t Pwrite(int, const void*, size_t, uint64_t) override { return -EBADF; }
  int64_t Mmap(size_t, int, int, int, uint64_t) override { return -EBADF; }
  int Munmap(uint64_t, size_t) override { return -EINVAL; }
  int WriteFile(const std::string&, const std::string&) override { return -EACCES; }
  int Readlink(const std::string& path, std::string* target) override {
    return Get(links, path, target);
  }
  int Readdir(const std::string& path, std::vector<std::string>* names) override {
    return Get(directories, path, names);
  }
  int ReadFile(const std::string& path, std::string* content) override {
    return Get(files, path, content);
  }

 private:
  template <typename Value>
  int Get(const std::map<std::string, Value>& from, const std::string& path, Value* value) {
    if (const auto error = errors.find(path); error != errors.end()) return error->second;
    const auto entry = from.find(path);
    if (entry == from.end()) return -ENOENT;
    *value = entry->second;
    return 0;
  }
};

// Answers every probe the same.
class FixedBackend final : public IommuBackend {
 public:
  explicit FixedBackend(absl::StatusOr<DeviceCapabilities> answer) : answer_(std::move(answer)) {}
  absl::string_view name() const override { return "fixed"; }
  bool replace_has_gap() const override { return false; }
  absl::StatusOr<DeviceCapabilities> Probe(const Bdf&) override { return answer_; }
  absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() override {
    return absl::UnimplementedError("probes only");
  }

 private:
  absl::StatusOr<DeviceCapabilities> answer_;
};

std::vector<Bdf> Addresses(const std::vector<PciFunction>& functions) {
  std::vector<Bdf> addresses;
  addresses.reserve(functions.size());
  for (const PciFunction& function : functions) addresses.push_back(function.bdf);
  return addresses;
}

TEST(ReadPciFunctionTest, ReadsEveryAttribute) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  const absl::StatusOr<PciFunction> function = ReadPciFunction(sysfs, "0000:6a:01.0");
  ASSERT_TRUE(function.ok()) << function.status();
  EXPECT_THAT(*function, Eq(PciFunction{.bdf = "0000:6a:01.0",
                                        .vendor_id = 0x8086,
                                        .device_id = 0x0b25,
                                        .class_code = 0x088000,
                                        .driver = "vfio-pci",
                                        .iommu_group = 12,
                                        .group_siblings = {},
                                        .numa_node = 1,
                                        .pasid_bits = 0}));
}

TEST(ReadPciFunctionTest, PasidBitsNeedTheWholeConfigurationSpace) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  const std::string path = "/sys/bus/pci/devices/0000:6a:01.0/config";
  sysfs.files[path] = std::string(64, '\0');
  EXPECT_THAT(ReadPciFunction(sysfs, "0000:6a:01.0")->pasid_bits, Eq(std::nullopt));
  sysfs.errors[path] = -EACCES;
  EXPECT_THAT(ReadPciFunction(sysfs, "0000:6a:01.0")->pasid_bits, Eq(std::nullopt));
}

TEST(ReadPciFunctionTest, MissingDriverGroupAndNumaNodeAreNotErrors) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:00:03.0", "0x020000", "", -1);
  sysfs.files.erase("/sys/bus/pci/devices/0000:00:03.0/numa_node");
  const absl::StatusOr<PciFunction> function = ReadPciFunction(sysfs, "0000:00:03.0");
  ASSERT_TRUE(function.ok()) << function.status();
  EXPECT_THAT(function->driver, IsEmpty());
  EXPECT_THAT(function->iommu_group, Eq(-1));
  EXPECT_THAT(function->numa_node, Eq(-1));
}

TEST(ReadPciFunctionTest, SiblingsLeaveOutItselfAndBridges) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:00:1c.0", "0x060400", "pcieport", 4);
  sysfs.AddFunction("0000:01:00.0", "0x020000", "vfio-pci", 4);
  sysfs.AddFunction("0000:01:00.1", "0x020000", "e1000e", 4);
  const absl::StatusOr<PciFunction> function = ReadPciFunction(sysfs, "0000:01:00.0");
  ASSERT_TRUE(function.ok()) << function.status();
  EXPECT_THAT(function->group_siblings, ElementsAre("0000:01:00.1"));
}

TEST(ReadPciFunctionTest, UnknownFunctionIsNoDevice) {
  FakeSysfs sysfs;
  const absl::Status status = ReadPciFunction(sysfs, "0000:00:03.0").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(GetReason(status), Eq("NO_DEVICE"));
}

TEST(ReadPciFunctionTest, NameThatLeavesTheDirectoryIsNoDevice) {
  FakeSysfs sysfs;
  sysfs.files["/sys/bus/pci/devices/../../x/vendor"] = "0x8086\n";
  for (const char* name : {"", "..", "../../x", "0000:00:03.0/../x", "0000:00:03.0\n"}) {
    EXPECT_THAT(GetReason(ReadPciFunction(sysfs, name).status()), Eq("NO_DEVICE")) << name;
  }
}

TEST(ReadPciFunctionTest, AttributeThatIsNoNumberIsNamed) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  sysfs.files["/sys/bus/pci/devices/0000:6a:01.0/class"] = "accelerator\n";
  const absl::Status status = ReadPciFunction(sysfs, "0000:6a:01.0").status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("0000:6a:01.0/class"));
}

TEST(ReadPciFunctionTest, UnreadableAttributeKeepsTheErrno) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  const std::string path = "/sys/bus/pci/devices/0000:6a:01.0/driver";
  sysfs.errors[path] = -EACCES;
  const absl::Status status = ReadPciFunction(sysfs, "0000:6a:01.0").status();
  EXPECT_THAT(GetKernelError(status), Eq(KernelError{"readlink", path, EACCES}));
}

TEST(ListPciFunctionsTest, FilterLeavesOtherDriversOut) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:00:03.0", "0x020000", "e1000e", 1);
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  EXPECT_THAT(Addresses(*ListPciFunctions(sysfs, PciFilter::kVfio)), ElementsAre("0000:6a:01.0"));
  EXPECT_THAT(Addresses(*ListPciFunctions(sysfs, PciFilter::kAll)),
              ElementsAre("0000:00:03.0", "0000:6a:01.0"));
}

TEST(ListPciFunctionsTest, FunctionThatDisappearsMeanwhileIsLeftOut) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  sysfs.directories["/sys/bus/pci/devices"].push_back("0000:6a:02.0");
  EXPECT_THAT(Addresses(*ListPciFunctions(sysfs, PciFilter::kAll)), ElementsAre("0000:6a:01.0"));
}

TEST(ListPciFunctionsTest, UnreadableDirectoryIsAnError) {
  FakeSysfs sysfs;
  EXPECT_THAT(ListPciFunctions(sysfs, PciFilter::kAll).status().code(),
              Eq(absl::StatusCode::kNotFound));
}

TEST(BuildInventoryTest, HoldsWhatProbingFound) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:00:03.0", "0x020000", "e1000e", 1);
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  DeviceCapabilities capabilities;
  capabilities.granularity = NestGranularity::kPasid;
  capabilities.pasid_bits = 20;
  FixedBackend backend(capabilities);
  const absl::StatusOr<std::vector<DeviceFacts>> inventory = BuildInventory(sysfs, backend);
  ASSERT_TRUE(inventory.ok()) << inventory.status();
  EXPECT_THAT(*inventory, ElementsAre(Field(&DeviceFacts::capabilities, Eq(capabilities))));
}

TEST(BuildInventoryTest, FunctionThatCannotBeProbedIsListedWithItsReason) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  FixedBackend backend(WithReason(absl::UnavailableError("group 12 is in use"), "GROUP_BUSY"));
  const std::vector<DeviceFacts> inventory = *BuildInventory(sysfs, backend);
  ASSERT_THAT(inventory, testing::SizeIs(1));
  EXPECT_THAT(inventory[0].capabilities.granularity, Eq(NestGranularity::kNone));
  EXPECT_THAT(inventory[0].capabilities.reason, Eq("GROUP_BUSY"));
  EXPECT_THAT(inventory[0].capabilities.message, Eq("group 12 is in use"));
}

TEST(BuildInventoryTest, ProbeErrorWithoutReasonStillHasOne) {
  FakeSysfs sysfs;
  sysfs.AddFunction("0000:6a:01.0", "0x088000", "vfio-pci", 12);
  FixedBackend backend(absl::InternalError("strange"));
  EXPECT_THAT((*BuildInventory(sysfs, backend))[0].capabilities.reason, Eq("PROBE_FAILED"));
}

TEST(BootIdTest, IsTheKernelsWithoutItsNewline) {
  FakeSysfs sysfs;
  sysfs.files["/proc/sys/kernel/random/boot_id"] = "0d1b2c3d-0000-4000-8000-000000000001\n";
  EXPECT_THAT(*BootId(sysfs), Eq("0d1b2c3d-0000-4000-8000-000000000001"));
}

}  // namespace
}  // namespace nestor::agent
