#include "tests/kernel/mock_device.h"

#include <algorithm>

namespace nestor::kernel_test {
namespace {

constexpr uint32_t kTestRequest = 0x3ba0;

enum Operation : uint32_t {
  kCheckMapping = 3,
  kReplace = 10,
  kCreateWithFlags = 12,
  kCheckIotlb = 14,
  kRequestPage = 15,
  kCheckCache = 16,
  kAttachPasid = 18,
  kReplacePasid = 19,
  kDetachPasid = 20,
  kCheckPasid = 21,
};

constexpr uint32_t kWithPasids = 1 << 2;
constexpr uint32_t kReadAccess = 1;

}  // namespace

// iommu_test_cmd with the arms of its union that are used here.
struct MockDevices::Command {
  uint32_t size = sizeof(Command);
  uint32_t operation = 0;
  uint32_t id = 0;
  uint32_t reserved = 0;
  union {
    uint32_t words[12] = {};
    struct {
      uint64_t iova;
      uint64_t size;
      uint64_t user_address;
    } mapping;
    struct {
      uint32_t device;
      uint32_t pasid;
      uint32_t group;
      uint32_t access;
      uint64_t address;
    } page;
  };
  uint64_t last = 0;
};

int64_t MockDevices::Run(uint32_t operation, uint32_t id, std::initializer_list<uint32_t> words) {
  Command command;
  command.operation = operation;
  command.id = id;
  std::copy(words.begin(), words.end(), command.words);
  return Run(command);
}

int64_t MockDevices::Run(Command& command) {
  static_assert(sizeof(Command) == 72);
  return iommufd_.Call(kTestRequest, &command);
}

MockDevices::Device MockDevices::Create(uint32_t table, bool with_pasids) {
  Command command;
  command.operation = kCreateWithFlags;
  command.id = table;
  command.words[3] = with_pasids ? kWithPasids : 0;
  const int64_t result = Run(command);
  return {result, command.words[0], command.words[2], command.words[1]};
}

int64_t MockDevices::Replace(uint32_t handle, uint32_t table) {
  return Run(kReplace, handle, {table});
}

int64_t MockDevices::AttachPasid(uint32_t handle, uint32_t pasid, uint32_t table) {
  return Run(kAttachPasid, handle, {pasid, table});
}

int64_t MockDevices::ReplacePasid(uint32_t handle, uint32_t pasid, uint32_t table) {
  return Run(kReplacePasid, handle, {pasid, table});
}

int64_t MockDevices::DetachPasid(uint32_t handle, uint32_t pasid) {
  return Run(kDetachPasid, handle, {pasid});
}

int64_t MockDevices::CheckPasid(uint32_t handle, uint32_t pasid, uint32_t table) {
  return Run(kCheckPasid, handle, {pasid, table});
}

int64_t MockDevices::CheckMapping(uint32_t table, uint64_t iova, uint64_t user_address,
                                  uint64_t size) {
  Command command;
  command.operation = kCheckMapping;
  command.id = table;
  command.mapping = {.iova = iova, .size = size, .user_address = user_address};
  return Run(command);
}

int64_t MockDevices::CheckIotlb(uint32_t table, uint32_t entry, uint32_t value) {
  return Run(kCheckIotlb, table, {entry, value});
}

int64_t MockDevices::CheckCache(uint32_t device, uint32_t entry, uint32_t value) {
  return Run(kCheckCache, device, {entry, value});
}

int64_t MockDevices::RequestPage(uint32_t device, uint32_t pasid, uint64_t address) {
  Command command;
  command.operation = kRequestPage;
  command.page = {
      .device = device, .pasid = pasid, .group = 0, .access = kReadAccess, .address = address};
  return Run(command);
}

}  // namespace nestor::kernel_test
