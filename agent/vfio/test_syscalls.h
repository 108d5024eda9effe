// Test only: records the ioctls that reach a kernel and answers chosen calls itself.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel/syscalls.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::agent {

// Passes every call on to `kernel`. Not thread-safe.
class TestSyscalls final : public kernel::Syscalls {
 public:
  // A call that may fail, i.e. any but close(2), which closes whatever it answers.
  struct Call {
    int number = 0;                      // from 1
    std::string name = {};               // "open", "ioctl", ...
    std::string path = {};               // of a call by path
    unsigned long request = 0;           // NOLINT: kernel's type; of an ioctl
    uint64_t raw_argument = 0;           // of an ioctl
    std::vector<uint8_t> argument = {};  // the struct of a PASID_REQUEST or NESTING_OP
  };
  // The struct that an ioctl was given, to answer into it.
  template <typename Struct>
  static Struct& ArgumentOf(const Call& call) {
    return *reinterpret_cast<Struct*>(call.raw_argument);  // NOLINT: an address of the kernel's
  }
  // What becomes of a call.
  struct Outcome {
    std::optional<int> answer;  // in place of the kernel's: -errno, or a result
    bool is_made = true;        // whether it reaches the kernel
  };
  static Outcome Pass() { return {}; }
  static Outcome Fail(int error) { return {.answer = -error, .is_made = false}; }
  static Outcome LoseAnswer(int error) { return {.answer = -error, .is_made = true}; }
  using Interference = std::function<Outcome(const Call&)>;

  explicit TestSyscalls(kernel::Syscalls& kernel) : kernel_(kernel) {}

  // Forgets the calls so far and installs `interference`.
  void Start(Interference interference = {}) {
    calls_.clear();
    interference_ = std::move(interference);
  }
  const std::vector<Call>& calls() const { return calls_; }
  // The arguments of the ioctls of that number.
  std::vector<std::vector<uint8_t>> Arguments(unsigned long request) const {  // NOLINT
    std::vector<std::vector<uint8_t>> arguments;
    for (const Call& call : calls_) {
      if (call.request == request) arguments.push_back(call.argument);
    }
    return arguments;
  }

  int Open(const std::string& path, int flags) override {
    return Made({.name = "open", .path = path}, [&] { return kernel_.Open(path, flags); });
  }
  int Close(int fd) override { return kernel_.Close(fd); }
  int Ioctl(int fd, unsigned long request, uint64_t argument) override {  // NOLINT
    return Made({.name = "ioctl",
                 .request = request,
                 .raw_argument = argument,
                 .argument = CopyStruct(request, argument)},
                [&] { return kernel_.Ioctl(fd, request, argument); });
  }
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override {
    return Made({.name = "pread"}, [&] { return kernel_.Pread(fd, buffer, size, offset); });
  }
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override {
    return Made({.name = "pwrite"}, [&] { return kernel_.Pwrite(fd, buffer, size, offset); });
  }
  int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) override {
    return Made({.name = "mmap"},
                [&] { return kernel_.Mmap(length, protection, flags, fd, offset); });
  }
  int Munmap(uint64_t address, size_t length) override { return kernel_.Munmap(address, length); }
  int Readlink(const std::string& path, std::string* target) override {
    return Made({.name = "readlink", .path = path}, [&] { return kernel_.Readlink(path, target); });
  }
  int Readdir(const std::string& path, std::vector<std::string>* names) override {
    return Made({.name = "readdir", .path = path}, [&] { return kernel_.Readdir(path, names); });
  }
  int ReadFile(const std::string& path, std::string* content) override {
    return Made({.name = "read", .path = path}, [&] { return kernel_.ReadFile(path, content); });
  }
  int WriteFile(const std::string& path, const std::string& content) override {
    return Made({.name = "write", .path = path}, [&] { return kernel_.WriteFile(path, content); });
  }

 private:
  // Both structs begin with their size.
  static std::vector<uint8_t> CopyStruct(unsigned long request, uint64_t argument) {  // NOLINT
    if (request != kernel::uapi::VFIO_IOMMU_PASID_REQUEST &&
        request != kernel::uapi::VFIO_IOMMU_NESTING_OP) {
      return {};
    }
    const auto* bytes = reinterpret_cast<const uint8_t*>(argument);  // NOLINT: as above
    uint32_t size = 0;
    std::memcpy(&size, bytes, sizeof(size));
    return {bytes, bytes + size};
  }

  template <typename Function>
  auto Made(Call call, Function function) -> decltype(function()) {
    call.number = static_cast<int>(calls_.size()) + 1;
    calls_.push_back(std::move(call));
    const Outcome outcome = interference_ ? interference_(calls_.back()) : Pass();
    if (!outcome.is_made) return *outcome.answer;
    const auto result = function();
    return outcome.answer.has_value() ? *outcome.answer : result;
  }

  kernel::Syscalls& kernel_;
  Interference interference_;
  std::vector<Call> calls_;
};

}  // namespace nestor::agent
