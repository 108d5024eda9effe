#include "agent/check/kernel_config.h"

#include <zlib.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"

namespace nestor::agent {
namespace {

struct NeededOption {
  absl::string_view name;
  absl::string_view purpose;
};

constexpr NeededOption kType1Options[] = {
    {"CONFIG_INTEL_IOMMU", "VT-d"},
    {"CONFIG_INTEL_IOMMU_SVM", "VT-d scalable mode with PASIDs"},
    {"CONFIG_PCI_PASID", "PASIDs of PCI devices"},
    {"CONFIG_VFIO", "devices for user space"},
    {"CONFIG_VFIO_IOMMU_TYPE1", "guest memory for devices"},
    {"CONFIG_VFIO_PCI", "the driver vfio-pci"},
    {"CONFIG_VFIO_PASID", "PASIDs for user space, of the nesting series"},
};

constexpr NeededOption kIommufdOptions[] = {
    {"CONFIG_IOMMUFD", "/dev/iommu"},           {"CONFIG_PCI_PASID", "PASIDs of PCI devices"},
    {"CONFIG_VFIO", "devices for user space"},  {"CONFIG_VFIO_DEVICE_CDEV", "/dev/vfio/devices"},
    {"CONFIG_VFIO_PCI", "the driver vfio-pci"},
};

absl::Span<const NeededOption> OptionsOf(absl::string_view backend) {
  if (backend == "iommufd") return kIommufdOptions;
  return kType1Options;
}

constexpr size_t kMaxConfig = 8 << 20;

// Makes zlib expect a gzip header (zlib.h, inflateInit2).
constexpr int kGzipWindow = 15 + 16;

v1::KernelOption::Value ValueOf(absl::string_view text) {
  if (text == "y") return v1::KernelOption::VALUE_BUILT_IN;
  return text == "m" ? v1::KernelOption::VALUE_MODULE : v1::KernelOption::VALUE_OFF;
}

absl::Status BadGzip() { return absl::DataLossError("this is no whole gzip file"); }

}  // namespace

std::vector<v1::KernelOption> NeededKernelOptions(absl::string_view backend) {
  std::vector<v1::KernelOption> options;
  for (const NeededOption& needed : OptionsOf(backend)) {
    v1::KernelOption& option = options.emplace_back();
    option.set_name(std::string(needed.name));
    option.set_purpose(std::string(needed.purpose));
  }
  return options;
}

std::vector<v1::KernelOption> ParseKernelConfig(absl::string_view config,
                                                absl::string_view backend) {
  std::vector<v1::KernelOption> options = NeededKernelOptions(backend);
  for (v1::KernelOption& option : options) option.set_value(v1::KernelOption::VALUE_OFF);
  for (absl::string_view line : absl::StrSplit(config, '\n')) {
    const std::pair<absl::string_view, absl::string_view> setting =
        absl::StrSplit(line, absl::MaxSplits('=', 1));
    for (v1::KernelOption& option : options) {
      if (option.name() == setting.first) option.set_value(ValueOf(setting.second));
    }
  }
  return options;
}

absl::StatusOr<std::string> Gunzip(absl::string_view packed) {
  z_stream stream = {};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) return BadGzip();
  // zlib does not write to its input, though it takes no const.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text(kMaxConfig, '\0');
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  const int result = inflate(&stream, Z_FINISH);
  text.resize(stream.total_out);
  inflateEnd(&stream);
  if (result != Z_STREAM_END) return BadGzip();
  return text;
}

}  // namespace nestor::agent
