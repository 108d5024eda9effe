#include "server/core/explain.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "api/support/resource_name.h"

namespace nestor::server {
namespace {

// A cause and one next step; $N is the binding, $V its machine, $H its host, $D its device,
// $P its PASID.
struct Advice {
  absl::string_view reason;
  absl::string_view cause;
  absl::string_view next_step;
};

constexpr std::array kAdvice = {
    Advice{"WAITING_FOR_VMM",
           "no virtual machine monitor has connected for $V, so there is no guest memory to "
           "translate into",
           "start the monitor with the vfio-user socket of $D on $H; then: nestorctl wait $N"},
    Advice{"PASID_TAKEN_ON_HOST",
           "another process of $H holds PASID $P: with type1, PASIDs are shared by the whole "
           "host",
           "create the binding with another PASID, or with any_of; it is retried meanwhile"},
    Advice{
        "TRANSLATION_GAP_NOT_ALLOWED",
        "type1 must unbind the old root before it binds the new one, and the binding does not "
        "allow a gap; the old root is still bound",
        "set spec.allow_translation_gap on $N, or quiesce the PASID and create the binding anew"},
    Advice{"VM_INSTANCE_GONE",
           "the guest whose page table this was has gone or was reset; its root means nothing to "
           "the next one",
           "update $N with the root of the new guest"},
    Advice{"VM_INSTANCE_MISMATCH",
           "the binding is for another boot of the guest than the one that runs",
           "update $N with the vm_instance shown by: nestorctl get vms"},
    Advice{"UNSUPPORTED",
           "the host's kernel interface cannot bind this: type1 binds PASIDs, not a whole device",
           "delete $N and create it with a PASID or any_of"},
    Advice{"MEMORY_INCOMPLETE", "part of the guest's memory could not be mapped into stage 2",
           "see the conditions of the machine: nestorctl describe vm $V (often the memlock limit)"},
    Advice{"DEVICE_UNSUITABLE", "the device cannot nest on this host",
           "see why: nestorctl describe device $H/$D"},
    Advice{"DEVICE_NOT_ATTACHED", "the device could not be opened for $V",
           "see the conditions of the machine: nestorctl describe vm $V"},
    Advice{"FIELD_INVALID", "the host's agent refused a value that the server let through",
           "correct the field named in the message and apply again"},
    Advice{"FORMAT_UNSUPPORTED", "the host's IOMMU does not walk page tables of this format",
           "use the format that the device lists: nestorctl describe device $H/$D"},
    Advice{"PASID_CONFLICT", "another binding of the machine holds the same PASID of the device",
           "delete one of the two"},
    Advice{"VM_UNKNOWN", "the owner process of $V does not run on $H",
           "look at the agent's log on $H"},
    Advice{"WAITING_FOR_AGENT", "the agent of $H has not answered for this generation yet",
           "nestorctl wait $N"},
    Advice{"HOST_NEVER_SEEN", "the agent of $H has never connected",
           "start nestor-agent --host on $H"},
    Advice{"HOST_UNKNOWN", "the agent of $H is silent; what its kernel holds is not known",
           "look at nestor-agent on $H; nothing is freed until it is back"},
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
std::string ReasonOf(const v1::PasidBinding& binding, v1::HostStatus::State host) {
  if (host == v1::HostStatus::STATE_NEVER_SEEN) return "HOST_NEVER_SEEN";
  if (host == v1::HostStatus::STATE_UNKNOWN) return "HOST_UNKNOWN";
  const v1::PasidBindingStatus& status = binding.status();
  return status.failure().reason().empty() ? "WAITING_FOR_AGENT" : status.failure().reason();
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
  absl::string_view host_id = host_name;
  absl::ConsumePrefix(&host_id, "hosts/");
  const v1::Host host = view.HostResource(host_id);
  response.set_reason(ReasonOf(binding, host.status().state()));
  const Advice advice = AdviceFor(response.reason());
  const std::vector<std::pair<std::string, std::string>> words = {
      {"$N", std::string(name)},
      {"$V", machine},
      {"$H", host_name},
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
