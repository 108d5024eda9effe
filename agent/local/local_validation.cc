#include "agent/local/local_validation.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "api/support/address_range.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"

namespace nestor::agent {
namespace {

constexpr int kMaxDevices = 1024;
constexpr uint32_t kMaxPasid = (1u << 20) - 1;
constexpr uint32_t kMaxDmaTest = 4096;
constexpr uint64_t kPage = 4096;
// Guest physical addresses have at most 52 bits (Intel SDM, MAXPHYADDR).
constexpr uint64_t kRootEnd = uint64_t{1} << 52;

void CheckMachine(const std::string& name, FieldViolations* violations) {
  if (const auto parsed = VirtualMachineName::Parse(name); !parsed.ok()) {
    violations->Add("virtual_machine", parsed.status().message());
  }
}

void CheckDevice(absl::string_view field, const std::string& device, FieldViolations* violations) {
  if (IsBdf(device)) return;
  violations->Add(field,
                  absl::StrCat("\"", Printable(device), "\" is no PCI address like 0000:3b:00.0"));
}

void CheckPasid(uint32_t pasid, uint32_t least, FieldViolations* violations) {
  if (pasid >= least && pasid <= kMaxPasid) return;
  violations->Add("pasid", absl::StrCat("must be ", least, " to ", kMaxPasid));
}

void CheckPageTable(const v1::PageTable& table, FieldViolations* violations) {
  if (table.format() == v1::PageTable::FORMAT_UNSPECIFIED ||
      !v1::PageTable::Format_IsValid(table.format())) {
    violations->Add("page_table.format", "is required, e.g. FORMAT_VTD_S1");
  }
  if (table.root() % kPage != 0 || table.root() >= kRootEnd) {
    violations->Add("page_table.root", "must be a multiple of 4096 below 2^52");
  }
  if (table.address_width() != 48 && table.address_width() != 57) {
    violations->Add("page_table.address_width", "must be 48 or 57");
  }
}

}  // namespace

absl::Status Validate(const v1::CheckHostRequest& request) {
  FieldViolations violations;
  if (request.devices_size() > kMaxDevices) {
    violations.Add("devices", absl::StrCat("has more than ", kMaxDevices, " entries"));
    return violations.ToStatus();
  }
  for (int i = 0; i < request.devices_size(); ++i) {
    CheckDevice(absl::StrCat("devices[", i, "]"), request.devices(i), &violations);
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::DumpRequest&) { return absl::OkStatus(); }

absl::Status Validate(const v1::BindRequest& request) {
  FieldViolations violations;
  CheckMachine(request.virtual_machine(), &violations);
  CheckDevice("device", request.device(), &violations);
  CheckPasid(request.pasid(), 1, &violations);
  CheckPageTable(request.page_table(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UnbindRequest& request) {
  FieldViolations violations;
  CheckMachine(request.virtual_machine(), &violations);
  if (!request.device().empty()) {
    CheckDevice("device", request.device(), &violations);
    CheckPasid(request.pasid(), 1, &violations);
  } else if (request.pasid() != 0) {
    violations.Add("device", "is required with a pasid");
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::InvalidateRequest& request) {
  FieldViolations violations;
  CheckDevice("device", request.device(), &violations);
  CheckPasid(request.pasid(), 1, &violations);
  if (request.has_range()) CheckAddressRange(request.range(), "range", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DmaTestRequest& request) {
  FieldViolations violations;
  CheckDevice("device", request.device(), &violations);
  CheckPasid(request.pasid(), 0, &violations);
  if (request.size() < 1 || request.size() > kMaxDmaTest) {
    violations.Add("size", absl::StrCat("must be 1 to ", kMaxDmaTest));
  }
  return violations.ToStatus();
}

}  // namespace nestor::agent
