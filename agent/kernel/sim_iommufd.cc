#include "agent/kernel/sim_iommufd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "agent/kernel/sim_iommufd_calls.h"
#include "agent/kernel/sim_iommufd_device.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

// The longest struct, and more than what a caller may know beyond it.
constexpr size_t kMaxStruct = 64;
constexpr uint32_t kMaxSize = 4096;

using Buffer = std::array<uint8_t, kMaxStruct>;
using Handler = int (*)(SimIommufdCall& call, Buffer& argument);

// A call with its struct.
template <typename Struct, int (*Function)(SimIommufdCall&, Struct*)>
int Invoke(SimIommufdCall& call, Buffer& argument) {
  static_assert(sizeof(Struct) <= kMaxStruct);
  Struct value;
  std::memcpy(&value, argument.data(), sizeof(value));
  const int result = Function(call, &value);
  std::memcpy(argument.data(), &value, sizeof(value));
  return result;
}

int Destroy(SimIommufdCall& call, uapi::iommu_destroy* destroy) {
  return call.context.Destroy(destroy->id);
}

// What is known, so that it can be asked for, and not offered.
int Refuse(SimIommufdCall&, Buffer&) { return -EOPNOTSUPP; }

enum class Answer { kNone, kOnSuccess, kAlways };

struct Call {
  uint32_t request;
  uint32_t min_size;
  uint32_t size;
  Answer answer;  // when the struct is written back
  Handler handler;
};

template <typename Struct, int (*Function)(SimIommufdCall&, Struct*)>
constexpr Call MakeCall(uint32_t request, Answer answer, uint32_t min_size = sizeof(Struct)) {
  return {request, min_size, sizeof(Struct), answer, Invoke<Struct, Function>};
}

constexpr Call MakeRefusal(uint32_t request, uint32_t min_size, uint32_t size) {
  return {request, min_size, size, Answer::kNone, Refuse};
}

constexpr Answer kYes = Answer::kOnSuccess;
constexpr Answer kNo = Answer::kNone;

// By number, without a gap.
constexpr Call kCalls[] = {
    MakeCall<uapi::iommu_destroy, Destroy>(uapi::IOMMU_DESTROY, kNo),
    MakeCall<uapi::iommu_ioas_alloc, IoasAlloc>(uapi::IOMMU_IOAS_ALLOC, kYes),
    MakeCall<uapi::iommu_ioas_allow_iovas, IoasAllowIovas>(uapi::IOMMU_IOAS_ALLOW_IOVAS, kNo),
    MakeCall<uapi::iommu_ioas_copy, IoasCopy>(uapi::IOMMU_IOAS_COPY, kYes),
    MakeCall<uapi::iommu_ioas_iova_ranges, IoasIovaRanges>(uapi::IOMMU_IOAS_IOVA_RANGES,
                                                           Answer::kAlways),
    MakeCall<uapi::iommu_ioas_map, IoasMap>(uapi::IOMMU_IOAS_MAP, kYes),
    MakeCall<uapi::iommu_ioas_unmap, IoasUnmap>(uapi::IOMMU_IOAS_UNMAP, kYes),
    MakeCall<uapi::iommu_option, Option>(uapi::IOMMU_OPTION, kYes),
    MakeCall<uapi::iommu_vfio_ioas, VfioIoas>(uapi::IOMMU_VFIO_IOAS, kYes),
    MakeCall<uapi::iommu_hwpt_alloc, HwptAlloc>(uapi::IOMMU_HWPT_ALLOC, kYes,
                                                uapi::IOMMU_HWPT_ALLOC_MIN_SIZE),
    MakeCall<uapi::iommu_hw_info, GetHwInfo>(uapi::IOMMU_GET_HW_INFO, kYes,
                                             uapi::IOMMU_HW_INFO_MIN_SIZE),
    MakeRefusal(uapi::IOMMU_HWPT_SET_DIRTY_TRACKING, 16, 16),
    MakeRefusal(uapi::IOMMU_HWPT_GET_DIRTY_BITMAP, 48, 48),
    MakeCall<uapi::iommu_hwpt_invalidate, HwptInvalidate>(uapi::IOMMU_HWPT_INVALIDATE,
                                                          Answer::kAlways),
    MakeRefusal(uapi::IOMMU_FAULT_QUEUE_ALLOC, 16, 16),
    MakeCall<uapi::iommu_ioas_map_file, IoasMapFile>(uapi::IOMMU_IOAS_MAP_FILE, kYes),
    MakeCall<uapi::iommu_viommu_alloc, ViommuAlloc>(uapi::IOMMU_VIOMMU_ALLOC, kYes,
                                                    uapi::IOMMU_VIOMMU_ALLOC_MIN_SIZE),
    MakeCall<uapi::iommu_vdevice_alloc, VdeviceAlloc>(uapi::IOMMU_VDEVICE_ALLOC, kYes),
    MakeCall<uapi::iommu_ioas_change_process, IoasChangeProcess>(uapi::IOMMU_IOAS_CHANGE_PROCESS,
                                                                 kNo),
    MakeRefusal(uapi::IOMMU_VEVENTQ_ALLOC, 28, 32),
    MakeRefusal(uapi::IOMMU_HW_QUEUE_ALLOC, 40, 40),
};

// Null: the kernel does not know the number.
const Call* Find(SimPersonality personality, uint32_t request) {
  const uint32_t last = personality == SimPersonality::kLinux7_2 ? uapi::IOMMU_HW_QUEUE_ALLOC
                                                                 : uapi::IOMMU_FAULT_QUEUE_ALLOC;
  if (request < uapi::IOMMU_DESTROY || request > last) return nullptr;
  return &kCalls[request - uapi::IOMMU_DESTROY];
}

// As copy_struct_from_user: what the caller does not know is zero, and what it knows beyond
// the kernel must be.
int ReadStruct(const UserMemory& memory, uint64_t argument, uint32_t user_size, const Call& call,
               Buffer* buffer) {
  if (user_size > kMaxSize) return -E2BIG;
  if (!memory.Read(argument, buffer->data(), std::min(user_size, call.size))) return -EFAULT;
  if (user_size <= call.size) return 0;
  std::array<uint8_t, kMaxSize> tail;
  const uint32_t size = user_size - call.size;
  if (!memory.Read(argument + call.size, tail.data(), size)) return -EFAULT;
  const auto is_set = [](uint8_t byte) { return byte != 0; };
  return std::any_of(tail.begin(), tail.begin() + size, is_set) ? -E2BIG : 0;
}

}  // namespace

SimIommufd::SimIommufd(SimSystem& system) : system_(system), attachments_(system) {
  ++system_.iommufds;
}

SimIommufd::~SimIommufd() { --system_.iommufds; }

uint32_t SimIommufd::Add(const std::shared_ptr<SimIommufdObject>& object) {
  uint32_t id = 1;
  for (auto taken = objects_.begin(); taken != objects_.end() && taken->first == id; ++taken) ++id;
  object->id_ = id;
  objects_.emplace(id, object);
  return id;
}

int SimIommufd::Destroy(uint32_t id) {
  const auto found = objects_.find(id);
  if (found == objects_.end() || found->second == nullptr) return -ENOENT;
  if (found->second.use_count() > 1) return -EBUSY;
  objects_.erase(found);
  return 0;
}

void SimIommufd::Burn(uint32_t id) { objects_[id] = nullptr; }

int SimIommufdFile::Ioctl(SimTask& task, uint32_t request, uint64_t argument) {
  const Call* call = Find(context_->system().machine.personality, request);
  if (call == nullptr) return -ENOTTY;
  uint32_t user_size = 0;
  if (!task.memory().Read(argument, &user_size)) return -EFAULT;
  if (user_size < call->min_size) return -EINVAL;
  Buffer buffer = {};
  const int read = ReadStruct(task.memory(), argument, user_size, *call, &buffer);
  if (read != 0) return read;
  const uint32_t size = std::min(user_size, call->size);
  // Before anything is done, so that nothing need be undone.
  if (call->answer != Answer::kNone && !task.memory().IsMapped(argument, size, true)) {
    return -EFAULT;
  }
  SimIommufdCall made = {.task = task, .context = *context_};
  const int result = call->handler(made, buffer);
  const bool answers = call->answer == Answer::kAlways || (call->answer == kYes && result == 0);
  if (answers && !task.memory().Write(argument, buffer.data(), size)) return -EFAULT;
  return result;
}

}  // namespace nestor::kernel
