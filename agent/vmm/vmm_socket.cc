#include "agent/vmm/vmm_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// The name that a socket has until it listens.
constexpr char kUnfinished[] = ".new";
// Without the final NUL, and with room for that name.
constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - sizeof(kUnfinished);

absl::Status MakeDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory.parent_path(), error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("mkdir ", directory.string()));
  }
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", directory.string()));
  }
  if (chmod(directory.c_str(), 0700) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("chmod ", directory.string()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> VmmSocketPath(absl::string_view directory, absl::string_view vm_name,
                                          const Bdf& device) {
  ASSIGN_OR_RETURN(const VirtualMachineName vm, VirtualMachineName::Parse(vm_name));
  if (!IsBdf(device)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Printable(device), " is no PCI address like 0000:3b:00.0"));
  }
  std::string path =
      absl::StrCat(directory, "/", vm.project, ".", vm.virtual_machine, "/", device, ".sock");
  if (path.size() > kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path ", path, " has ", path.size(),
                                                   " bytes, and at most ", kMaxPath,
                                                   " can be: use a shorter directory"));
  }
  return path;
}

absl::StatusOr<FileDescriptor> ListenAt(const std::string& path, int type) {
  RETURN_IF_ERROR(MakeDirectory(std::filesystem::path(path).parent_path()));
  const std::string unfinished = path + kUnfinished;
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (unfinished.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket path ", path, " is too long"));
  }
  std::memcpy(address.sun_path, unfinished.data(), unfinished.size());
  unlink(unfinished.c_str());
  FileDescriptor socket(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid() ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(socket.get(), 1) != 0 || rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(unfinished.c_str());
    return absl::ErrnoToStatus(error, absl::StrCat("listening at ", path));
  }
  return socket;
}

void RemoveSocket(const std::string& path) {
  unlink(path.c_str());
  rmdir(std::filesystem::path(path).parent_path().c_str());
}

}  // namespace nestor::agent
