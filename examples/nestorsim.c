/* A VFIO driver in plain C, on a simulated kernel: opens a container, a group and a device, maps
 * memory for DMA and has the device read it. On Linux it would be the same program with the
 * system calls themselves.
 *
 *   nestor-simkernel --listen unix:/tmp/sim.sock &
 *   nestorsim-example /tmp/sim.sock
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/simkernel/nestorsim.h"

/* The device: 8-byte registers in BAR 0, and a buffer that its DMA engine fills. */
enum { REGISTER_ADDRESS = 0x10, REGISTER_LENGTH = 0x18, REGISTER_COMMAND = 0x20 };
enum { REGISTER_STATUS = 0x28, BUFFER = 0x8000 };
enum { COMMAND_READ_MEMORY = 1, STATUS_DONE = 1 };

#define IOVA 0x10000000u
#define SIZE 65536u

static const char kText[] = "read by the device";

/* `result` where it is >= 0; otherwise the end. */
static int64_t check(const char* what, int64_t result) {
  if (result >= 0) return result;
  fprintf(stderr, "%s: %s\n", what, strerror((int)-result));
  exit(1);
}

static void write_register(int device, uint64_t offset, uint64_t value) {
  check("pwrite", nestorsim_pwrite(device, &value, sizeof(value), offset));
}

static uint64_t read_register(int device, uint64_t offset) {
  uint64_t value = 0;
  check("pread", nestorsim_pread(device, &value, sizeof(value), offset));
  return value;
}

/* Memory that the device finds at IOVA. */
static char* map_memory(int container) {
  char* memory =
      mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) check("mmap", -errno);
  struct vfio_iommu_type1_dma_map map = {
      .argsz = sizeof(map),
      .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
      .vaddr = (uintptr_t)memory,
      .iova = IOVA,
      .size = SIZE,
  };
  check("VFIO_IOMMU_MAP_DMA", nestorsim_ioctl(container, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map));
  return memory;
}

static uint64_t bar_offset(int device) {
  struct vfio_region_info region = {.argsz = sizeof(region), .index = VFIO_PCI_BAR0_REGION_INDEX};
  check("VFIO_DEVICE_GET_REGION_INFO",
        nestorsim_ioctl(device, VFIO_DEVICE_GET_REGION_INFO, (uintptr_t)&region));
  return region.offset;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s SOCKET (of nestor-simkernel --listen unix:SOCKET)\n", argv[0]);
    return 2;
  }
  const int kernel = (int)check("connect", nestorsim_connect(argv[1]));
  int container = (int)check("open", nestorsim_open(kernel, "/dev/vfio/vfio", O_RDWR));
  const int group = (int)check("open", nestorsim_open(kernel, "/dev/vfio/1", O_RDWR));
  check("VFIO_GROUP_SET_CONTAINER",
        nestorsim_ioctl(group, VFIO_GROUP_SET_CONTAINER, (uintptr_t)&container));
  check("VFIO_SET_IOMMU", nestorsim_ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  const int device =
      (int)check("VFIO_GROUP_GET_DEVICE_FD",
                 nestorsim_ioctl(group, VFIO_GROUP_GET_DEVICE_FD, (uintptr_t) "0000:01:00.0"));

  char* memory = map_memory(container);
  strcpy(memory, kText);
  const uint64_t bar = bar_offset(device);
  write_register(device, bar + REGISTER_ADDRESS, IOVA);
  write_register(device, bar + REGISTER_LENGTH, sizeof(kText));
  write_register(device, bar + REGISTER_COMMAND, COMMAND_READ_MEMORY);
  if (read_register(device, bar + REGISTER_STATUS) != STATUS_DONE) {
    fprintf(stderr, "the DMA was refused\n");
    return 1;
  }
  char seen[sizeof(kText)] = "";
  check("pread", nestorsim_pread(device, seen, sizeof(seen), bar + BUFFER));
  printf("%s\n", seen);

  close(device);
  close(group);
  close(container);
  close(kernel);
  return strcmp(seen, kText) == 0 ? 0 : 1;
}
