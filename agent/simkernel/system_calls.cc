#include "agent/simkernel/system_calls.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "agent/kernel/sim_open.h"
#include "agent/kernel/sim_system.h"
#include "agent/simkernel/status_text.h"

namespace nestor::kernel {
namespace {

// Linux's PATH_MAX, the zero byte included.
constexpr size_t kMaxPath = 4096;
// As much as sysfs takes at once.
constexpr size_t kMaxWrite = 4096;

bool IsCallOnFile(uint32_t number) {
  return number >= NESTORSIM_IOCTL && number <= NESTORSIM_PWRITE;
}

// -ERANGE: it does not fit.
int64_t Give(const SimTask& task, const std::string& text, uint64_t buffer, uint64_t size) {
  if (text.size() > size) return -ERANGE;
  if (!task.memory().Write(buffer, text.data(), text.size())) return -EFAULT;
  return static_cast<int64_t>(text.size());
}

int64_t Open(SimSystem& system, SimTask& task, const std::string& path) {
  std::shared_ptr<SimFile> file;
  const int result = OpenPath(system, path, &file);
  return result != 0 ? result : task.InstallFile(std::move(file));
}

int64_t Readlink(SimSystem& system, SimTask& task, const std::string& path,
                 const nestorsim_call& call) {
  std::string target;
  const int result = system.sysfs.Readlink(path, &target);
  return result != 0 ? result : Give(task, target, call.arguments[1], call.arguments[2]);
}

int64_t Readdir(SimSystem& system, SimTask& task, const std::string& path,
                const nestorsim_call& call) {
  std::vector<std::string> names;
  if (const int result = system.sysfs.Readdir(path, &names); result != 0) return result;
  std::string list;
  for (const std::string& name : names) list.append(name).push_back('\0');
  return Give(task, list, call.arguments[1], call.arguments[2]);
}

int64_t ReadFile(SimSystem& system, SimTask& task, const std::string& path,
                 const nestorsim_call& call) {
  std::string content;
  if (const int result = ReadText(system, path, &content); result != 0) return result;
  if (content.size() > call.arguments[2]) content.resize(call.arguments[2]);
  return Give(task, content, call.arguments[1], call.arguments[2]);
}

int64_t WriteFile(SimSystem& system, SimTask& task, const std::string& path,
                  const nestorsim_call& call) {
  std::string content(std::min<uint64_t>(call.arguments[2], kMaxWrite), '\0');
  if (!task.memory().Read(call.arguments[1], content.data(), content.size())) return -EFAULT;
  const int result = WriteText(system, path, content);
  return result != 0 ? result : static_cast<int64_t>(content.size());
}

int64_t CallOnPath(SimSystem& system, SimTask& task, const nestorsim_call& call) {
  std::string path;
  if (const int result = task.memory().ReadString(call.arguments[0], kMaxPath, &path);
      result != 0) {
    return result == -EINVAL ? -ENAMETOOLONG : result;
  }
  switch (call.number) {
    case NESTORSIM_OPEN:
      return Open(system, task, path);
    case NESTORSIM_READLINK:
      return Readlink(system, task, path, call);
    case NESTORSIM_READDIR:
      return Readdir(system, task, path, call);
    case NESTORSIM_READ_FILE:
      return ReadFile(system, task, path, call);
    case NESTORSIM_WRITE_FILE:
      return WriteFile(system, task, path, call);
    default:
      return -EINVAL;
  }
}

}  // namespace

int64_t CallOnConnection(SimKernel& kernel, SimTask& task, const nestorsim_call& call) {
  if (call.number == NESTORSIM_STATUS) {
    return Give(task, StatusText(kernel.Statistics()), call.arguments[0], call.arguments[1]);
  }
  if (IsCallOnFile(call.number)) return -EBADF;
  const std::lock_guard lock(kernel.system().mutex);
  return CallOnPath(kernel.system(), task, call);
}

int64_t CallOnFile(SimKernel& kernel, SimTask& task, SimFile& file, const nestorsim_call& call) {
  const std::lock_guard lock(kernel.system().mutex);
  const auto& [first, second, third] = call.arguments;
  switch (call.number) {
    case NESTORSIM_IOCTL:
      return file.Ioctl(task, static_cast<uint32_t>(first), second);
    case NESTORSIM_PREAD:
      return file.Pread(task, first, second, third);
    case NESTORSIM_PWRITE:
      return file.Pwrite(task, first, second, third);
    default:
      return call.number >= NESTORSIM_OPEN && call.number <= NESTORSIM_STATUS ? -ENOTDIR : -EINVAL;
  }
}

}  // namespace nestor::kernel
