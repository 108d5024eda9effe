#include "agent/kernel/linux_device_events.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace nestor::kernel {
namespace {

// The multicast group of the kernel itself; udev's own messages come on another one.
constexpr unsigned kKernelGroup = 1;
// UEVENT_BUFFER_SIZE of the kernel, and room for the action and path before it.
constexpr size_t kMaxMessage = 8192;

int OpenSocket() {
  const int fd =
      socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) return -1;
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

bool LinuxDeviceEvents::IsAboutPci(absl::string_view message) {
  const std::vector<absl::string_view> fields = absl::StrSplit(message, '\0');
  return std::find(fields.begin(), fields.end(), "SUBSYSTEM=pci") != fields.end();
}

LinuxDeviceEvents::LinuxDeviceEvents()
    : socket_(OpenSocket()), interrupt_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

LinuxDeviceEvents::~LinuxDeviceEvents() {
  if (socket_ >= 0) close(socket_);
  close(interrupt_);
}

void LinuxDeviceEvents::Wait(absl::Duration longest) {
  const absl::Time deadline = absl::Now() + longest;
  for (;;) {
    const absl::Duration left = std::max(absl::ZeroDuration(), deadline - absl::Now());
    // poll ignores negative descriptors.
    pollfd files[] = {{interrupt_, POLLIN, 0}, {socket_, POLLIN, 0}};
    const int ready = poll(files, 2, static_cast<int>(absl::ToInt64Milliseconds(left)));
    if (ready == 0) return;
    if (TakeInterrupt() || TakeMessages()) return;
  }
}

void LinuxDeviceEvents::Interrupt() { (void)eventfd_write(interrupt_, 1); }

bool LinuxDeviceEvents::TakeInterrupt() const {
  eventfd_t count = 0;
  return eventfd_read(interrupt_, &count) == 0;
}

bool LinuxDeviceEvents::TakeMessages() const {
  bool found = false;
  char buffer[kMaxMessage];
  for (;;) {
    const ssize_t size = recv(socket_, buffer, sizeof(buffer), 0);
    if (size >= 0) {
      found |= IsAboutPci(absl::string_view(buffer, static_cast<size_t>(size)));
    } else if (errno == ENOBUFS) {
      found = true;  // messages were lost, of whatever kind
    } else {
      return found;
    }
  }
}

}  // namespace nestor::kernel
