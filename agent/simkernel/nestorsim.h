/* libnestorsim: system calls on the simulated kernel of a nestor-simkernel process. Pure C,
 * without dependencies.
 *
 * A program that drives VFIO devices makes these calls in place of open(2), ioctl(2) and so on,
 * and finds a machine with an IOMMU that nests and devices that do DMA, without hardware and
 * without privileges. examples/nestorsim.c is such a program; docs/simulated-kernel.md says
 * what is simulated.
 *
 * All functions return what the system call returns: a value >= 0, or -errno. errno itself is
 * left alone. -EIO from any of them: nestor-simkernel has gone. -EPERM: it may not reach the
 * caller's memory. They are thread-safe and may be used after fork; a call is not interrupted by
 * signals.
 *
 * Descriptors are real ones of the process: dup, fork, execve (once FD_CLOEXEC is cleared),
 * SCM_RIGHTS and close(2) do with them what they do with any other, and the simulated file is
 * closed when its last descriptor is, however the processes that held it ended. They cannot be
 * mapped or polled.
 *
 * Where Linux's Yama restricts ptrace, each call names nestor-simkernel as the process that may
 * reach this one's memory (PR_SET_PTRACER), in place of one that was named before.
 */
#ifndef AGENT_SIMKERNEL_NESTORSIM_H_
#define AGENT_SIMKERNEL_NESTORSIM_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Connects to the nestor-simkernel that listens at the unix socket `path`: a descriptor for the
 * calls below, close-on-exec, to be closed with close(2); -errno as of connect(2);
 * -ENAMETOOLONG. One connection serves all threads of a process and its children. */
int nestorsim_connect(const char* path);

/* Whether `fd` is a simulated file's descriptor or a connection: 1 or 0. Any SOCK_SEQPACKET
 * unix socket is taken for one. */
int nestorsim_is_simulated(int fd);

/* open(2) of an absolute path of the simulated machine, e.g. "/dev/vfio/vfio", or "/dev/iommu"
 * where its kernel has that: a descriptor, close-on-exec. -EMFILE: this process, or
 * nestor-simkernel on its behalf, has too many. */
int nestorsim_open(int connection, const char* path, int flags);

/* ioctl(2); `argument` is a number or an address. A descriptor inside an argument is one of
 * this process: simulated, or a real file where the call takes one (IOMMU_IOAS_MAP_FILE). The
 * descriptor that an ioctl returns is close-on-exec. */
int nestorsim_ioctl(int fd, unsigned long request, uintptr_t argument);

/* pread(2), pwrite(2). */
ssize_t nestorsim_pread(int fd, void* buffer, size_t size, uint64_t offset);
ssize_t nestorsim_pwrite(int fd, const void* buffer, size_t size, uint64_t offset);

/* readlink(2): the length of the target, which gets no zero byte. -ERANGE, where readlink(2)
 * would cut it off: `size` is too small. */
ssize_t nestorsim_readlink(int connection, const char* path, char* buffer, size_t size);

/* The names in a directory without "." and "..", in order, each with a zero byte: bytes
 * written. -ERANGE: `size` is too small. */
ssize_t nestorsim_readdir(int connection, const char* path, char* buffer, size_t size);

/* The content of a sysfs or procfs file, at most `size` bytes of it: bytes written. */
ssize_t nestorsim_read_file(int connection, const char* path, void* buffer, size_t size);

/* Writes to a sysfs file, at most 4096 bytes: bytes taken. */
ssize_t nestorsim_write_file(int connection, const char* path, const void* buffer, size_t size);

/* How much of everything the kernel holds, to find what was left behind: a JSON object as
 * `nestor-simkernel --status` prints it, without a zero byte: bytes written. -ERANGE: `size` is
 * too small; 4096 is enough. */
ssize_t nestorsim_status(int connection, char* buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* AGENT_SIMKERNEL_NESTORSIM_H_ */
