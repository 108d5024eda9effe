// What an ioctl of VFIO or iommufd says, for people and traces.
#pragma once

#include <cstdint>
#include <string>

namespace nestor::kernel {

// "VFIO_SET_IOMMU(6)", "VFIO_IOMMU_NESTING_OP(BIND_PGTBL)", and "ioctl 0x1234" for a number
// that is neither's. Looks at what `argument` points to where the number says it does.
std::string IoctlName(unsigned long request, uint64_t argument);  // NOLINT: kernel's type

// The bytes that `argument` points to, at most 4096; empty where it is a value or unused. A
// struct is taken to be as large as its first word says, and at least two words.
std::string IoctlArgument(unsigned long request, uint64_t argument);  // NOLINT: kernel's type

}  // namespace nestor::kernel
