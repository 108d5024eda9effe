#include "server/core/explain.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "api/support/resource_name.h"

namespace nestor::server {
namespace {

// What a reason means: $N is the binding, $V its machine, $H its host ($I the id alone), $O the
// host that it leaves ($L the id alone), $D its device, $P its PASID.
struct Advice {
  absl::string_view reason;
  absl::string_view cause;
  absl::string_view next_step;
};

constexpr Advice kAdvice[] = {
    {"WAITING_FOR_AGENT", "the agent of $H has not answered for this generation yet",
     "nestorctl wait $N"},
    {"WAITING_FOR_OLD_HOST",
     "$V was moved to $H, and $O has not let go of it yet; nothing of it is bound on two hosts",
     "look at nestor-agent on $O; if that host is dead for good: nestorctl fence-host $L"},
    {"HOST_NEVER_SEEN", "the agent of $H has never connected",
     "start nestor-agent for $H and point it at this server"},
    {"HOST_UNKNOWN",
     "the agent of $H is silent, so what its kernel holds is not known; nothing is freed",
     "look at nestor-agent on $H; if the host is dead for good: nestorctl fence-host $I"},
    {"HOST_FENCED",
     "an operator confirmed $H dead, so nothing counts as bound there; what is wanted stays stored",
     "start nestor-agent on $H, which lifts the fence once it holds nothing, or delete $N"},
    {"WAITING_FOR_VMM",
     "no virtual machine monitor has connected for $V, so there is no guest memory to translate "
     "into",
     "start the monitor with the vfio-user socket of $D on $H; then: nestorctl wait $N"},
    {"VMM_RECONNECT_NEEDED",
     "the owner process of $V died on $H and the kernel unbound what it held; no monitor has "
     "connected since",
     "restart the guest with the vfio-user socket of $D on $H; then: nestorctl wait $N"},
    {"MEMORY_INCOMPLETE", "part of the guest's memory could not be mapped into stage 2",
     "nestorctl describe vm $V; often the agent's memory lock limit on $H is too low"},
    {"VM_INSTANCE_GONE",
     "the guest whose page table this was has gone or was reset; its root means nothing to the "
     "next one",
     "update $N with a root of the guest that runs now"},
    {"VM_INSTANCE_MISMATCH", "the binding is for another boot of the guest than the one that runs",
     "update $N with the vm_instance that is shown by: nestorctl describe vm $V"},
    {"TRANSLATION_GAP_NOT_ALLOWED",
     "type1 unbinds the old root before it binds the new one, and the binding does not allow that "
     "gap; the old root is still bound",
     "set allow_translation_gap on $N, or delete it and create it again while the PASID is quiet"},
    {"PASID_TAKEN_ON_HOST",
     "another process of $H holds PASID $P (with type1 the whole host shares PASIDs), or the "
     "host's quota is used up; it is retried",
     "delete $N and create it with another PASID or any_of"},
    {"PASID_CONFLICT", "another binding of the machine holds PASID $P of $D",
     "delete one of the two"},
    {"PASID_NOT_ALLOCATED", "the agent bound before it reserved the PASID, which is a bug in it",
     "report it with the log of nestor-agent on $H"},
    {"UNSUPPORTED",
     "the host's kernel interface cannot bind this: a whole device, or a PASID of a device that "
     "nests only as a whole",
     "delete $N and create it with a target that fits: nestorctl describe device $I/$D"},
    {"FIELD_INVALID", "the agent of $H refused a value that the server let through",
     "correct the field that the message names and apply again"},
    {"FORMAT_UNSUPPORTED", "the host's IOMMU does not walk page tables of this format",
     "use a format that is shown by: nestorctl describe device $I/$D"},
    {"DEVICE_UNSUITABLE", "the device cannot do this on this host",
     "nestorctl describe device $I/$D"},
    {"DEVICE_NOT_ATTACHED", "the device could not be opened for $V yet",
     "nestorctl describe vm $V"},
    {"DEVICE_UNPLUGGED",
     "the device was unplugged from $H or taken from vfio-pci; it is bound again when it is back",
     "plug it in again, or on $H: echo 1 > /sys/bus/pci/rescan"},
    {"DEVICE_RESET_FAILED",
     "the device could not be reset, so that $V does not get it; it is retried",
     "nestorctl wait $N; if it lasts, power-cycle the device"},
    {"DEVICE_QUARANTINED", "the last reset of the device failed; it is retried",
     "nestorctl describe device $I/$D; if it lasts, power-cycle the device"},
    {"MEMLOCK_LOW", "the agent of $H may not lock as much memory as the guests have",
     "on $H: LimitMEMLOCK=infinity for the agent's service"},
    {"DEVICE_GONE", "the device has disappeared from $H", "look at lspci and the kernel log on $H"},
    {"DRIVER_NOT_VFIO", "the device is not bound to vfio-pci",
     "on $H: driverctl set-override $D vfio-pci"},
    {"NO_DEVICE", "$H has no such PCI function", "compare with lspci -D on $H"},
    {"NO_VFIO", "VFIO is not loaded on $H, or the agent cannot see it", "on $H: modprobe vfio-pci"},
    {"NO_IOMMUFD", "the kernel of $H has no iommufd, or the agent cannot see it",
     "on $H: modprobe iommufd; else a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV"},
    {"NO_IOMMU_GROUP", "no active IOMMU is in front of the device",
     "boot $H with intel_iommu=on,sm_on and VT-d enabled in its firmware"},
    {"GROUP_NOT_VIABLE", "functions of the same IOMMU group are bound to host drivers",
     "unbind those that the message names on $H"},
    {"GROUP_SHARED", "the device shares its IOMMU group with other functions",
     "use a device that is alone in its group: nestorctl get devices"},
    {"GROUP_BUSY", "another process of $H holds the IOMMU group of the device; it is retried",
     "on $H: fuser -v /dev/vfio/*"},
    {"NESTING_UNSUPPORTED_KERNEL", "the kernel of $H cannot nest", "on $H: nestor-agent check"},
    {"NESTING_UNSUPPORTED_HARDWARE", "an IOMMU of $H cannot nest",
     "boot $H with intel_iommu=on,sm_on and VT-d scalable mode in its firmware"},
    {"PASID_UNSUPPORTED", "the IOMMU or the device has no PASIDs",
     "use another device: nestorctl get devices"},
    {"PASID_QUOTA", "the processes of $H have reserved all PASIDs", "end some of them on $H"},
    {"PERMISSION", "the agent of $H may not do this", "give it the access that the message names"},
    {"KERNEL_BUSY", "the kernel was busy; it is retried",
     "nestorctl wait $N; if it lasts, look for another owner of $D on $H"},
    {"KERNEL_REFUSED", "the kernel refused a request that is valid as far as Nestor knows",
     "look at the kernel log on $H and report it"},
    {"KERNEL_ERROR", "the kernel answered with an error for which there is no rule; it is retried",
     "look at the kernel log on $H"},
    {"HOST_OUT_OF_MEMORY", "$H is out of memory, or over its memory lock limit; it is retried",
     "free memory on $H, or raise the agent's limit"},
    {"HOST_OUT_OF_DESCRIPTORS", "the agent of $H has no file descriptors left; it is retried",
     "raise its limit (LimitNOFILE=)"},
    {"PROBE_FAILED", "the agent could not find out what the device can do",
     "nestorctl describe device $I/$D"},
    {"SHIM_LAUNCH_FAILED", "the agent could not start the owner of the machine's kernel state",
     "look at the log of nestor-agent on $H"},
    {"VMM_ENDPOINT_FAILED", "the agent could not open the vfio-user socket of $D",
     "look at the rights and the length of the agent's --run-dir on $H"},
    {"VM_UNKNOWN", "the binding reached $H before its machine",
     "nestorctl wait $N; if it lasts, look at the log of nestor-agent on $H"},
    {"STALE_FENCE", "an older server spoke to $H and was refused", "stop the older server"},
    {"HOLD", "$H was told its bindings by another store, so nothing there is touched",
     "see the operations guide: another store"},
    {"UNAVAILABLE", "the device was busy; it is retried", "nestorctl wait $N"},
};

Advice AdviceFor(absl::string_view reason) {
  for (const Advice& advice : kAdvice) {
    if (advice.reason == reason) return advice;
  }
  return {reason, "the kernel or the agent of $H refused it",
          "look at the message, and at nestor-agent's log on $H"};
}

void AddRung(absl::string_view name, bool reached, const google::protobuf::Timestamp* time,
             v1::ExplainPasidBindingResponse* response) {
  auto* rung = response->add_rungs();
  rung->set_name(std::string(name));
  rung->set_reached(reached);
  if (reached && time != nullptr) *rung->mutable_time() = *time;
  if (!reached && response->first_unmet().empty()) response->set_first_unmet(std::string(name));
}

void AddRungs(const v1::PasidBinding& binding, v1::ExplainPasidBindingResponse* response) {
  const v1::PasidBindingStatus& status = binding.status();
  AddRung("PERSISTED", true, &status.times().persisted(), response);
  if (binding.metadata().has_delete_time()) return AddRung("ABSENT", false, nullptr, response);
  const bool current = status.observed_generation() == binding.metadata().generation();
  const bool programmed = current && status.state() == v1::PasidBindingStatus::STATE_PROGRAMMED;
  AddRung("ACCEPTED", current && status.times().has_accepted(), &status.times().accepted(),
          response);
  AddRung("PROGRAMMED", programmed, &status.times().programmed(), response);
}

// Why the first unmet rung is not met.
std::string ReasonOf(const v1::PasidBinding& binding, const VirtualMachineRecord* machine,
                     const HostRecord* host) {
  if (machine != nullptr && !machine->leaving_host.empty()) return "WAITING_FOR_OLD_HOST";
  if (host == nullptr || StateOf(*host) == v1::HostStatus::STATE_NEVER_SEEN)
    return "HOST_NEVER_SEEN";
  if (StateOf(*host) == v1::HostStatus::STATE_UNKNOWN) return "HOST_UNKNOWN";
  if (StateOf(*host) == v1::HostStatus::STATE_FENCED) return "HOST_FENCED";
  const std::string& reason = binding.status().failure().reason();
  return reason.empty() ? "WAITING_FOR_AGENT" : reason;
}

}  // namespace

v1::ExplainPasidBindingResponse Explain(const View& view, absl::string_view name) {
  v1::ExplainPasidBindingResponse response;
  const v1::PasidBinding binding = view.PasidBindingResource(name);
  *response.mutable_pasid_binding() = binding;
  AddRungs(binding, &response);
  if (response.first_unmet().empty()) return response;

  const std::string machine = PasidBindingName::Parse(name)->Parent().ToString();
  const VirtualMachineRecord* record = view.FindVirtualMachine(machine);
  const std::string host_name = record != nullptr ? record->host() : "";
  response.set_reason(
      ReasonOf(binding, record, view.FindHost(absl::StripPrefix(host_name, "hosts/"))));
  const Advice advice = AdviceFor(response.reason());
  const std::vector<std::pair<std::string, std::string>> words = {
      {"$N", std::string(name)},
      {"$V", machine},
      {"$H", host_name},
      {"$I", std::string(absl::StripPrefix(host_name, "hosts/"))},
      {"$O", record != nullptr ? absl::StrCat("hosts/", record->leaving_host) : ""},
      {"$L", record != nullptr ? record->leaving_host : ""},
      {"$D", binding.spec().device()},
      {"$P", absl::StrCat(binding.status().effective_pasid())}};
  response.set_cause(absl::StrReplaceAll(advice.cause, words));
  response.set_next_step(absl::StrReplaceAll(advice.next_step, words));
  const v1::Failure& failure = binding.status().failure();
  if (!failure.message().empty() && failure.reason() == response.reason()) {
    response.set_cause(absl::StrCat(response.cause(), ". The agent says: ", failure.message()));
  }
  return response;
}

std::string ExplainShortly(const v1::ExplainPasidBindingResponse& explanation) {
  if (explanation.first_unmet().empty()) return "all rungs are reached";
  return absl::StrCat("not ", explanation.first_unmet(), ": ", explanation.reason(), ": ",
                      explanation.cause(), ". Next: ", explanation.next_step());
}

}  // namespace nestor::server
