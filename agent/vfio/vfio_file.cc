#include "agent/vfio/vfio_file.h"

#include <fcntl.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {

absl::StatusOr<VfioFile> VfioFile::Open(kernel::Syscalls& syscalls, const std::string& path,
                                        const std::string& object) {
  const int fd = syscalls.Open(path, O_RDWR);
  if (fd < 0) return KernelErrorStatus({"open", path, -fd});
  return VfioFile(syscalls, fd, object);
}

absl::StatusOr<int> VfioFile::Ioctl(const VfioCall& call) const {
  const int attempts = call.on_signal == OnSignal::kRepeat ? kMaxAttempts : 1;
  int result = -EINTR;
  for (int attempt = 0; attempt < attempts && result == -EINTR; ++attempt) {
    result = syscalls_->Ioctl(fd_.get(), call.request, call.argument);
  }
  if (result >= 0) return result;
  const std::string object =
      call.detail.empty() ? object_ : absl::StrCat(object_, " ", call.detail);
  return KernelErrorStatus({call.operation, object, -result});
}

}  // namespace nestor::agent
