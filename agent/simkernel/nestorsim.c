#define _GNU_SOURCE /* struct ucred */
#include "agent/simkernel/nestorsim.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/simkernel/nestorsim_wire.h"

/* Room for one descriptor in SCM_RIGHTS. */
union descriptor_message {
  struct cmsghdr header; /* for its alignment */
  char bytes[CMSG_SPACE(sizeof(int))];
};

/* Lets the process at the other end of `fd` read and write this one's memory. Without Yama
 * there is nothing to let and prctl fails; then, and where it fails otherwise, the call that
 * follows says whether it matters. */
static void allow_memory_access(int fd) {
  struct ucred peer;
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0) {
    prctl(PR_SET_PTRACER, (unsigned long)peer.pid, 0, 0, 0);
  }
}

/* What a socket that lost its other end answers, in a kernel's terms. */
static int64_t socket_error(int error) {
  return error == EPIPE || error == ECONNRESET || error == ENOTCONN ? -EIO : -error;
}

static int64_t send_call(int fd, const struct nestorsim_call* call, int result_socket) {
  struct iovec part = {(void*)call, sizeof(*call)};
  union descriptor_message control;
  memset(&control, 0, sizeof(control));
  struct msghdr message;
  memset(&message, 0, sizeof(message));
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &result_socket, sizeof(int));
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? socket_error(errno) : 0;
}

static int64_t receive_result(int fd) {
  struct nestorsim_result result;
  struct iovec part = {&result, sizeof(result)};
  union descriptor_message control;
  struct msghdr message;
  memset(&message, 0, sizeof(message));
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t received;
  do {
    received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return socket_error(errno);
  if (received != (ssize_t)sizeof(result)) return -EIO; /* 0: no answer will come */
  if (!result.has_descriptor) return result.value;
  struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (rights == NULL || rights->cmsg_type != SCM_RIGHTS) return -EMFILE; /* it found no place */
  int descriptor;
  memcpy(&descriptor, CMSG_DATA(rights), sizeof(descriptor));
  return descriptor;
}

static int64_t make_call(int fd, uint32_t number, uint64_t first, uint64_t second, uint64_t third) {
  const int saved_errno = errno;
  const struct nestorsim_call call = {NESTORSIM_MAGIC, number, {first, second, third}};
  int ends[2];
  int64_t result;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    result = -errno;
  } else {
    allow_memory_access(fd);
    result = send_call(fd, &call, ends[1]);
    close(ends[1]); /* so that it ends with nestor-simkernel */
    if (result == 0) result = receive_result(ends[0]);
    close(ends[0]);
  }
  errno = saved_errno;
  return result;
}

int nestorsim_connect(const char* path) {
  const int saved_errno = errno;
  struct sockaddr_un address;
  memset(&address, 0, sizeof(address));
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (const struct sockaddr*)&address, sizeof(address)) == 0) {
    errno = saved_errno;
    return fd;
  }
  const int error = errno;
  if (fd >= 0) close(fd);
  errno = saved_errno;
  return -error;
}

int nestorsim_is_simulated(int fd) {
  const int saved_errno = errno;
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof(int);
  const int is_simulated =
      getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
  errno = saved_errno;
  return is_simulated;
}

int nestorsim_open(int connection, const char* path, int flags) {
  return (int)make_call(connection, NESTORSIM_OPEN, (uintptr_t)path, (uint64_t)flags, 0);
}

int nestorsim_ioctl(int fd, unsigned long request, uintptr_t argument) {
  return (int)make_call(fd, NESTORSIM_IOCTL, request, argument, 0);
}

ssize_t nestorsim_pread(int fd, void* buffer, size_t size, uint64_t offset) {
  return make_call(fd, NESTORSIM_PREAD, (uintptr_t)buffer, size, offset);
}

ssize_t nestorsim_pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  return make_call(fd, NESTORSIM_PWRITE, (uintptr_t)buffer, size, offset);
}

ssize_t nestorsim_readlink(int connection, const char* path, char* buffer, size_t size) {
  return make_call(connection, NESTORSIM_READLINK, (uintptr_t)path, (uintptr_t)buffer, size);
}

ssize_t nestorsim_readdir(int connection, const char* path, char* buffer, size_t size) {
  return make_call(connection, NESTORSIM_READDIR, (uintptr_t)path, (uintptr_t)buffer, size);
}

ssize_t nestorsim_read_file(int connection, const char* path, void* buffer, size_t size) {
  return make_call(connection, NESTORSIM_READ_FILE, (uintptr_t)path, (uintptr_t)buffer, size);
}

ssize_t nestorsim_write_file(int connection, const char* path, const void* buffer, size_t size) {
  return make_call(connection, NESTORSIM_WRITE_FILE, (uintptr_t)path, (uintptr_t)buffer, size);
}

ssize_t nestorsim_status(int connection, char* buffer, size_t size) {
  return make_call(connection, NESTORSIM_STATUS, (uintptr_t)buffer, size, 0);
}
