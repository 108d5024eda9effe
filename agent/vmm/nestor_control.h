/* The control socket of a virtual machine: for its monitor (VMM), without leaving the host.
 *
 * nestor-agent listens at RUN_DIR/vmm/PROJECT.VM/control.sock, beside the machine's vfio-user
 * sockets, for as long as the machine has devices. It is a SOCK_SEQPACKET unix socket: each
 * packet is one message, and each message begins with a struct nestor_control_header. The
 * client sends requests and gets one reply for each, in any order; `id` tells which. Up to 8
 * clients may be connected, each with requests of its own under way. Numbers are in the host's
 * byte order; text ends with a zero byte; reserved fields are zero.
 *
 * Versions: a request of another version is answered EPROTONOSUPPORT, with the agent's version
 * in the header. Within a version messages and entries only grow at their ends, and values and
 * types are only added: read entries at the strides that the reply names, and take what you do
 * not know for "something else".
 *
 * Errors (`error` of a reply, a positive errno of Linux; the reply is a struct
 * nestor_control_result then):
 *   EBADMSG           the request is shorter than its struct, or its `size` is not its length
 *   EPROTONOSUPPORT   another version
 *   EOPNOTSUPP        no such type
 *   ESHUTDOWN         the machine's owner has ended
 *   and those that each request names
 *
 * Pure C without dependencies; examples/nestor_control.c uses it.
 */
#ifndef AGENT_VMM_NESTOR_CONTROL_H_
#define AGENT_VMM_NESTOR_CONTROL_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NESTOR_CONTROL_VERSION 1
/* Bytes of the longest message. */
#define NESTOR_CONTROL_MAX_SIZE 65536

/* Requests. A reply has the type of its request with NESTOR_CONTROL_REPLY set. 16 to 31 are
 * kept for binding and unbinding by the guest itself. */
#define NESTOR_CONTROL_VM_INFO 1
#define NESTOR_CONTROL_INVALIDATE 2
#define NESTOR_CONTROL_REPLY 0x8000

struct nestor_control_header {
  uint16_t version; /* NESTOR_CONTROL_VERSION */
  uint16_t type;
  uint32_t size;  /* of the whole message, bytes */
  uint64_t id;    /* the client's choice; the reply repeats it */
  uint32_t error; /* of a reply: 0 or an errno */
  uint32_t reserved;
};

/* What the machine is and has. Answered by struct nestor_control_vm_info. */
struct nestor_control_vm_info_request {
  struct nestor_control_header header;
  uint32_t first_binding; /* 0, or how many bindings the replies before this one had */
  uint32_t reserved;
};

/* Devices follow, `device_count` entries of `device_size` bytes, then bindings. */
struct nestor_control_vm_info {
  struct nestor_control_header header;
  char vm_name[256];          /* projects/{project}/virtualMachines/{vm} */
  char vm_instance[64];       /* names this boot of the guest: new at each connect of the first
                                 monitor and at each device reset; empty while none is connected */
  uint32_t memory_incomplete; /* 1: guest memory could not be mapped, nothing new is bound */
  uint32_t device_size;
  uint32_t device_count;
  uint32_t binding_size;
  uint32_t binding_count;  /* in this reply */
  uint32_t total_bindings; /* ask again where there are more than you have */
};

/* nestor_control_device.nesting */
#define NESTOR_CONTROL_NESTING_NONE 1
#define NESTOR_CONTROL_NESTING_RID 2
#define NESTOR_CONTROL_NESTING_PASID 3
/* nestor_control_device.flags */
#define NESTOR_CONTROL_DEVICE_ATTACHED 1u
#define NESTOR_CONTROL_DEVICE_FIVE_LEVEL 2u
#define NESTOR_CONTROL_DEVICE_SUPERVISOR_REQUEST 4u
#define NESTOR_CONTROL_DEVICE_EXTENDED_ACCESS_FLAG 8u

struct nestor_control_device {
  char bdf[16];     /* PCI address on the host, 0000:3b:00.0 */
  char socket[112]; /* where its monitor connects */
  uint32_t flags;   /* what follows is 0 where it is not attached */
  uint32_t nesting;
  uint32_t pasid_bits;
  uint32_t address_width; /* of stage 2, bits */
};

/* nestor_control_binding.state */
#define NESTOR_CONTROL_ACCEPTED 1       /* it waits: see reason */
#define NESTOR_CONTROL_PROGRAMMED 2     /* DMA with this PASID walks the root */
#define NESTOR_CONTROL_FAILED 3         /* see reason */
#define NESTOR_CONTROL_NOT_PROGRAMMED 6 /* it was: see reason */

struct nestor_control_binding {
  char uid[40];
  char bdf[16];
  uint32_t pasid; /* that the guest must program into the device; 0: the device itself */
  uint32_t state;
  uint64_t root;   /* that the kernel walks now, guest physical; 0 where none */
  char reason[40]; /* UPPER_SNAKE_CASE, of docs/errors.md; empty where all is well */
};

/* Has the kernel drop cached translations in [address, address + size), and perhaps others;
 * size 0: all of the PASID. The reply, a struct nestor_control_result, comes when it is done.
 *   ENOENT   nothing is bound to that PASID of that device
 *   EINVAL   the range goes beyond 2^64, or bdf has no end
 *   EBUSY    too many are under way: repeat it when one is answered
 *   another  the kernel's answer */
struct nestor_control_invalidate_request {
  struct nestor_control_header header;
  char bdf[16];
  uint32_t pasid;
  uint32_t reserved;
  uint64_t address;
  uint64_t size;
};

struct nestor_control_result {
  struct nestor_control_header header;
  char message[256]; /* what went wrong, for people; empty where nothing did */
};

#ifdef __cplusplus
}
#endif

#endif /* AGENT_VMM_NESTOR_CONTROL_H_ */
