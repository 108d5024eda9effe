/* What a virtual machine monitor does at its machine's control socket, in plain C.
 *
 *   nestor-control-example SOCKET info
 *   nestor-control-example SOCKET invalidate BDF PASID [ADDRESS SIZE]
 *
 * SOCKET is RUN_DIR/vmm/PROJECT.VM/control.sock of nestor-agent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/vmm/nestor_control.h"

/* A message as it arrives. */
union message {
  struct nestor_control_header header;
  struct nestor_control_result result;
  struct nestor_control_vm_info info;
  char bytes[NESTOR_CONTROL_MAX_SIZE];
};

static void fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static int connect_to(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof(address.sun_path)) fail(path, "too long");
  strcpy(address.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    fail(path, strerror(errno));
  }
  return fd;
}

/* Fills in the header, sends the request, and waits for its reply. */
static void call(int fd, uint16_t type, void* request, uint32_t size, union message* reply) {
  struct nestor_control_header header = {
      .version = NESTOR_CONTROL_VERSION, .type = type, .size = size, .id = 1};
  memcpy(request, &header, sizeof(header));
  if (send(fd, request, size, MSG_NOSIGNAL) < 0) fail("send", strerror(errno));
  const ssize_t received = recv(fd, reply, sizeof(*reply), 0);
  if (received < (ssize_t)sizeof(header)) fail("recv", "the agent has gone");
  if (reply->header.error == 0) return;
  fprintf(stderr, "%s: %s\n", strerror((int)reply->header.error), reply->result.message);
  exit(1);
}

static const char* state_name(uint32_t state) {
  switch (state) {
    case NESTOR_CONTROL_ACCEPTED:
      return "accepted";
    case NESTOR_CONTROL_PROGRAMMED:
      return "programmed";
    case NESTOR_CONTROL_FAILED:
      return "failed";
    case NESTOR_CONTROL_NOT_PROGRAMMED:
      return "not programmed";
    default:
      return "something else";
  }
}

static void print_machine(const union message* reply) {
  const struct nestor_control_vm_info* info = &reply->info;
  printf("vm %s\ninstance %s\n", info->vm_name, info->vm_instance);
  /* An entry may be longer in a later agent; what is known is at its beginning. */
  const char* entry = reply->bytes + sizeof(*info);
  for (uint32_t i = 0; i < info->device_count; ++i, entry += info->device_size) {
    struct nestor_control_device device;
    memcpy(&device, entry, sizeof(device));
    printf("device %s %s pasid bits %" PRIu32 "\n", device.bdf, device.socket, device.pasid_bits);
  }
}

/* The bindings of one reply; where they begin follows from what is before them. */
static void print_bindings(const union message* reply) {
  const struct nestor_control_vm_info* info = &reply->info;
  const char* entry = reply->bytes + sizeof(*info) + (size_t)info->device_count * info->device_size;
  for (uint32_t i = 0; i < info->binding_count; ++i, entry += info->binding_size) {
    struct nestor_control_binding binding;
    memcpy(&binding, entry, sizeof(binding));
    printf("binding %s pasid %" PRIu32 " root 0x%" PRIx64 " %s %s\n", binding.bdf, binding.pasid,
           binding.root, state_name(binding.state), binding.reason);
  }
}

static void print_info(int fd) {
  static union message reply;
  uint32_t seen = 0;
  do {
    struct nestor_control_vm_info_request request = {.first_binding = seen};
    call(fd, NESTOR_CONTROL_VM_INFO, &request, sizeof(request), &reply);
    if (seen == 0) print_machine(&reply);
    print_bindings(&reply);
    seen += reply.info.binding_count;
  } while (reply.info.binding_count > 0 && seen < reply.info.total_bindings);
}

static void invalidate(int fd, int words, char** word) {
  static union message reply;
  struct nestor_control_invalidate_request request = {
      .pasid = (uint32_t)strtoul(word[1], NULL, 0),
      .address = words == 4 ? strtoull(word[2], NULL, 0) : 0,
      .size = words == 4 ? strtoull(word[3], NULL, 0) : 0};
  if (strlen(word[0]) >= sizeof(request.bdf)) fail(word[0], "no PCI address");
  strcpy(request.bdf, word[0]);
  call(fd, NESTOR_CONTROL_INVALIDATE, &request, sizeof(request), &reply);
  printf("dropped\n");
}

int main(int argc, char** argv) {
  const int is_info = argc == 3 && strcmp(argv[2], "info") == 0;
  const int is_invalidate = (argc == 5 || argc == 7) && strcmp(argv[2], "invalidate") == 0;
  if (!is_info && !is_invalidate) {
    fprintf(stderr, "usage: %s SOCKET info\n       %s SOCKET invalidate BDF PASID [ADDRESS SIZE]\n",
            argv[0], argv[0]);
    return 2;
  }
  const int fd = connect_to(argv[1]);
  if (is_info) {
    print_info(fd);
  } else {
    invalidate(fd, argc - 3, argv + 3);
  }
  close(fd);
  return 0;
}
