/* What libnestorsim and nestor-simkernel say to each other. C and C++.
 *
 * A client has two kinds of sockets, both SOCK_SEQPACKET: a connection to the listening socket,
 * on which it makes the calls that name a path, and, for each open file, one end of a socket
 * pair whose other end nestor-simkernel holds, on which it makes the calls that name a
 * descriptor. A call is one packet: a struct nestorsim_call and, in SCM_RIGHTS, one end of a
 * socket pair of the caller's for the result, so that callers that share a descriptor never
 * see each other's results. The result is one packet: a struct nestorsim_result and, where it
 * says so, a new descriptor.
 *
 * A call carries what a processor's registers would: numbers, and addresses of the caller's
 * memory, which nestor-simkernel reads and writes itself. Who calls is what the host's kernel
 * says (SCM_CREDENTIALS). Both ends are on one machine: bytes are in its order.
 */
#ifndef AGENT_SIMKERNEL_NESTORSIM_WIRE_H_
#define AGENT_SIMKERNEL_NESTORSIM_WIRE_H_

#include <stdint.h>

/* NOLINTBEGIN(readability-identifier-naming): C's names. */

/* First in each call; changes when the format does. */
#define NESTORSIM_MAGIC 0x316d6973u /* "sim1" */

/* A path and a buffer is an address; its size is in bytes. The value of a result is >= 0, as
 * the system call of that name has it unless said otherwise, or -errno. */
enum nestorsim_call_number {
  /* On a connection. Paths end in a zero byte. */
  NESTORSIM_OPEN = 1,       /* path, flags; a new descriptor */
  NESTORSIM_READLINK = 2,   /* path, buffer, size; -ERANGE: the buffer is too small */
  NESTORSIM_READDIR = 3,    /* path, buffer, size; names with a zero byte each; -ERANGE */
  NESTORSIM_READ_FILE = 4,  /* path, buffer, size: a whole attribute */
  NESTORSIM_WRITE_FILE = 5, /* path, buffer, size (at most a page counts) */
  NESTORSIM_STATUS = 6,     /* buffer, size: JSON; -ERANGE */
  /* On a file. */
  NESTORSIM_IOCTL = 16,  /* request, argument; for some a new descriptor */
  NESTORSIM_PREAD = 17,  /* buffer, size, offset */
  NESTORSIM_PWRITE = 18, /* buffer, size, offset */
};

struct nestorsim_call {
  uint32_t magic;
  uint32_t number; /* enum nestorsim_call_number */
  uint64_t arguments[3];
};

struct nestorsim_result {
  int64_t value;
  uint32_t has_descriptor; /* 1: the call's result is the attached descriptor, not `value` */
  uint32_t reserved;
};

/* NOLINTEND(readability-identifier-naming) */

#endif /* AGENT_SIMKERNEL_NESTORSIM_WIRE_H_ */
