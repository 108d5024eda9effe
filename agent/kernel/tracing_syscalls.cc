#include "agent/kernel/tracing_syscalls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/kernel/ioctl_description.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

// Of files and regions; ioctls have a limit of their own.
constexpr size_t kMaxData = 4096;

std::string Bytes(const void* buffer, ssize_t size) {
  if (size <= 0) return "";
  return {static_cast<const char*>(buffer), std::min(static_cast<size_t>(size), kMaxData)};
}

std::string Where(size_t size, uint64_t offset) {
  return absl::StrCat(size, " bytes at 0x", absl::Hex(offset));
}

}  // namespace

std::vector<TracedCall> TracingSyscalls::Recording::Calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

uint64_t TracingSyscalls::Recording::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

void TracingSyscalls::Recording::Add(const TracedCall& call) {
  const std::lock_guard lock(mutex_);
  if (calls_.size() < limit_) {
    calls_.push_back(call);
  } else {
    ++dropped_;
  }
}

std::shared_ptr<TracingSyscalls::Recording> TracingSyscalls::Record(size_t limit) {
  auto recording = std::make_shared<Recording>(limit);
  const std::lock_guard lock(mutex_);
  recordings_.push_back(recording);
  return recording;
}

std::vector<std::shared_ptr<TracingSyscalls::Recording>> TracingSyscalls::Listeners() {
  const std::lock_guard lock(mutex_);
  std::erase_if(recordings_, [](const auto& recording) { return recording.expired(); });
  std::vector<std::shared_ptr<Recording>> listeners;
  for (const auto& recording : recordings_) {
    if (auto listener = recording.lock()) listeners.push_back(std::move(listener));
  }
  return listeners;
}

template <typename Describe>
void TracingSyscalls::Tell(Describe describe) {
  const auto listeners = Listeners();
  if (listeners.empty()) return;
  const TracedCall call = describe();
  for (const auto& listener : listeners) listener->Add(call);
}

std::string TracingSyscalls::NameOf(int fd) {
  const std::lock_guard lock(mutex_);
  const auto name = names_.find(fd);
  return name == names_.end() ? absl::StrCat("fd ", fd) : name->second;
}

void TracingSyscalls::Remember(int fd, const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (fd >= 0) names_[fd] = name;
}

int TracingSyscalls::Open(const std::string& path, int flags) {
  const int result = kernel_.Open(path, flags);
  Remember(result, path);
  Tell([&] {
    return TracedCall{.call = "open",
                      .operation = absl::StrCat("flags ", flags),
                      .object = path,
                      .argument = "",
                      .reply = "",
                      .result = result};
  });
  return result;
}

int TracingSyscalls::Close(int fd) {
  const std::string name = NameOf(fd);
  {
    // Before the number can be given out again.
    const std::lock_guard lock(mutex_);
    names_.erase(fd);
  }
  const int result = kernel_.Close(fd);
  Tell([&] {
    return TracedCall{.call = "close",
                      .operation = "",
                      .object = name,
                      .argument = "",
                      .reply = "",
                      .result = result};
  });
  return result;
}

int TracingSyscalls::Ioctl(int fd, unsigned long request, uint64_t argument) {  // NOLINT
  const bool opens = request == uapi::VFIO_GROUP_GET_DEVICE_FD;
  if (!opens && Listeners().empty()) return kernel_.Ioctl(fd, request, argument);
  TracedCall call{.call = "ioctl",
                  .operation = IoctlName(request, argument),
                  .object = NameOf(fd),
                  .argument = IoctlArgument(request, argument),
                  .reply = "",
                  .result = 0};
  const int result = kernel_.Ioctl(fd, request, argument);
  if (opens) Remember(result, call.argument);
  call.result = result;
  // As many bytes as the caller gave: a kernel that has more to say writes how many into argsz.
  if (!call.argument.empty()) {
    call.reply.assign(reinterpret_cast<const char*>(argument), call.argument.size());
  }
  if (call.reply == call.argument) call.reply.clear();
  Tell([&] { return call; });
  return result;
}

ssize_t TracingSyscalls::Pread(int fd, void* buffer, size_t size, uint64_t offset) {
  const ssize_t result = kernel_.Pread(fd, buffer, size, offset);
  Tell([&] {
    return TracedCall{.call = "pread",
                      .operation = Where(size, offset),
                      .object = NameOf(fd),
                      .argument = "",
                      .reply = Bytes(buffer, result),
                      .result = result};
  });
  return result;
}

ssize_t TracingSyscalls::Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  const ssize_t result = kernel_.Pwrite(fd, buffer, size, offset);
  Tell([&] {
    return TracedCall{.call = "pwrite",
                      .operation = Where(size, offset),
                      .object = NameOf(fd),
                      .argument = Bytes(buffer, static_cast<ssize_t>(size)),
                      .reply = "",
                      .result = result};
  });
  return result;
}

int64_t TracingSyscalls::Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) {
  const int64_t result = kernel_.Mmap(length, protection, flags, fd, offset);
  Tell([&] {
    return TracedCall{.call = "mmap",
                      .operation = Where(length, offset),
                      .object = NameOf(fd),
                      .argument = "",
                      .reply = "",
                      .result = result};
  });
  return result;
}

int TracingSyscalls::Munmap(uint64_t address, size_t length) {
  const int result = kernel_.Munmap(address, length);
  Tell([&] {
    return TracedCall{.call = "munmap",
                      .operation = Where(length, address),
                      .object = "",
                      .argument = "",
                      .reply = "",
                      .result = result};
  });
  return result;
}

int TracingSyscalls::Readlink(const std::string& path, std::string* target) {
  const int result = kernel_.Readlink(path, target);
  Tell([&] {
    return TracedCall{.call = "readlink",
                      .operation = "",
                      .object = path,
                      .argument = "",
                      .reply = result < 0 ? "" : *target,
                      .result = result};
  });
  return result;
}

int TracingSyscalls::Readdir(const std::string& path, std::vector<std::string>* names) {
  const int result = kernel_.Readdir(path, names);
  Tell([&] {
    return TracedCall{.call = "readdir",
                      .operation = "",
                      .object = path,
                      .argument = "",
                      .reply = result < 0 ? "" : absl::StrJoin(*names, " "),
                      .result = result};
  });
  return result;
}

int TracingSyscalls::ReadFile(const std::string& path, std::string* content) {
  const int result = kernel_.ReadFile(path, content);
  Tell([&] {
    return TracedCall{.call = "read",
                      .operation = "",
                      .object = path,
                      .argument = "",
                      .reply = result < 0 ? "" : content->substr(0, kMaxData),
                      .result = result};
  });
  return result;
}

int TracingSyscalls::WriteFile(const std::string& path, const std::string& content) {
  const int result = kernel_.WriteFile(path, content);
  Tell([&] {
    return TracedCall{.call = "write",
                      .operation = "",
                      .object = path,
                      .argument = content.substr(0, kMaxData),
                      .reply = "",
                      .result = result};
  });
  return result;
}

}  // namespace nestor::kernel
