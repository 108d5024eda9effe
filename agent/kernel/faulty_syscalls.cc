#include "agent/kernel/faulty_syscalls.h"

namespace nestor::kernel {

void FaultySyscalls::FailCall(int number, int error_number) {
  const std::lock_guard lock(mutex_);
  calls_ = 0;
  failing_call_ = number;
  call_error_ = error_number;
}

void FaultySyscalls::HangCall(int number) {
  const std::lock_guard lock(mutex_);
  calls_ = 0;
  failing_call_ = 0;
  hanging_call_ = number;
}

bool FaultySyscalls::IsHanging() const {
  const std::lock_guard lock(mutex_);
  return hangs_;
}

void FaultySyscalls::Release() {
  const std::lock_guard lock(mutex_);
  hanging_call_ = 0;
  hangs_ = false;
  released_.notify_all();
}

void FaultySyscalls::FailIoctl(unsigned long request, int error_number) {  // NOLINT
  const std::lock_guard lock(mutex_);
  failing_request_ = request;
  request_error_ = error_number;
}

void FaultySyscalls::FailPath(const std::string& path, int error_number) {
  const std::lock_guard lock(mutex_);
  failing_path_ = path;
  path_error_ = error_number;
}

void FaultySyscalls::Reset() {
  const std::lock_guard lock(mutex_);
  calls_ = 0;
  failing_call_ = 0;
  request_error_ = 0;
  path_error_ = 0;
}

int FaultySyscalls::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

int FaultySyscalls::Count() {
  std::unique_lock lock(mutex_);
  const int number = ++calls_;
  if (number == hanging_call_) {
    hangs_ = true;
    released_.wait(lock, [this] { return !hangs_; });
  }
  return number == failing_call_ ? -call_error_ : 0;
}

int FaultySyscalls::CountIoctl(unsigned long request) {  // NOLINT
  if (const int error = Count(); error != 0) return error;
  const std::lock_guard lock(mutex_);
  return request_error_ != 0 && request == failing_request_ ? -request_error_ : 0;
}

int FaultySyscalls::CountPath(const std::string& path) {
  if (const int error = Count(); error != 0) return error;
  const std::lock_guard lock(mutex_);
  return path_error_ != 0 && path == failing_path_ ? -path_error_ : 0;
}

int FaultySyscalls::Open(const std::string& path, int flags) {
  const int error = CountPath(path);
  return error != 0 ? error : kernel_.Open(path, flags);
}

int FaultySyscalls::Ioctl(int fd, unsigned long request, uint64_t argument) {  // NOLINT
  const int error = CountIoctl(request);
  return error != 0 ? error : kernel_.Ioctl(fd, request, argument);
}

ssize_t FaultySyscalls::Pread(int fd, void* buffer, size_t size, uint64_t offset) {
  const int error = Count();
  return error != 0 ? error : kernel_.Pread(fd, buffer, size, offset);
}

ssize_t FaultySyscalls::Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  const int error = Count();
  return error != 0 ? error : kernel_.Pwrite(fd, buffer, size, offset);
}

int64_t FaultySyscalls::Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) {
  const int error = Count();
  return error != 0 ? error : kernel_.Mmap(length, protection, flags, fd, offset);
}

int FaultySyscalls::Readlink(const std::string& path, std::string* target) {
  const int error = CountPath(path);
  return error != 0 ? error : kernel_.Readlink(path, target);
}

int FaultySyscalls::Readdir(const std::string& path, std::vector<std::string>* names) {
  const int error = CountPath(path);
  return error != 0 ? error : kernel_.Readdir(path, names);
}

int FaultySyscalls::ReadFile(const std::string& path, std::string* content) {
  const int error = CountPath(path);
  return error != 0 ? error : kernel_.ReadFile(path, content);
}

int FaultySyscalls::WriteFile(const std::string& path, const std::string& content) {
  const int error = CountPath(path);
  return error != 0 ? error : kernel_.WriteFile(path, content);
}

}  // namespace nestor::kernel
