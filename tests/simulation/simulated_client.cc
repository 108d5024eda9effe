#include "tests/simulation/simulated_client.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "api/support/errors.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"
#include "server/core/intent.h"

namespace nestor::simulation {
namespace {

constexpr int kBindings = 4;
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

SimulatedClient::SimulatedClient(Scheduler& scheduler, Network& network, SimulatedServer& server,
                                 Judge& judge, int number, std::vector<std::string> hosts)
    : scheduler_(scheduler),
      network_(network),
      server_(server),
      judge_(judge),
      number_(number),
      machine_(absl::StrCat("client-", number)),
      hosts_(std::move(hosts)),
      vm_name_(absl::StrCat("projects/p/virtualMachines/vm-", number)),
      process_(scheduler) {
  for (int i = 0; i < kBindings; ++i) {
    binding_names_.push_back(absl::StrCat(vm_name_, "/pasidBindings/b-", i));
  }
  ActLater();
}

void SimulatedClient::Renew() {
  to_renew_ = binding_names_;
  renewed_ = true;
}

void SimulatedClient::Check(const server::View& view) const {
  if (busy_) return;
  for (const auto& [name, promise] : promises_) {
    v1::Metadata metadata;
    const bool is_machine = name == vm_name_;
    const bool found = is_machine ? view.FindVirtualMachine(name) != nullptr
                                  : view.FindPasidBinding(name).has_value();
    if (found) {
      metadata = is_machine ? view.VirtualMachineResource(name).metadata()
                            : view.PasidBindingResource(name).metadata();
    }
    const bool present = found && !metadata.has_delete_time();
    const bool kept =
        present == promise.present && (!present || (metadata.uid() == promise.uid &&
                                                    metadata.generation() == promise.generation));
    if (kept) continue;
    judge_.Violated(
        "an acknowledged intent survives",
        absl::StrCat(name, " was promised ", promise.present ? "present" : "absent",
                     " at generation ", promise.generation, " and is ",
                     present ? "present" : "absent", " at generation ", metadata.generation()));
  }
}

void SimulatedClient::ActLater() {
  process_.PostAfter(scheduler_.choices().Between(absl::Milliseconds(50), absl::Seconds(4)),
                     [this] {
                       Act();
                       ActLater();
                     });
}

void SimulatedClient::Act() {
  if (busy_) return;
  Choices& choices = scheduler_.choices();
  if (resting_) {
    if (to_renew_.empty()) return;
    const std::string name = to_renew_.back();
    to_renew_.pop_back();
    if (IsPresent(name)) UpdateBinding(name);
  } else if (!IsPresent(vm_name_)) {
    CreateMachine();
  } else if (choices.Percent(5)) {
    DeleteMachine();
  } else if (choices.Percent(5)) {
    MoveMachine();
  } else {
    ChangeBinding(choices.Among(binding_names_));
  }
}

void SimulatedClient::ChangeBinding(const std::string& name) {
  if (!IsPresent(name)) return CreateBinding(name);
  if (scheduler_.choices().Percent(40)) return DeleteBinding(name);
  UpdateBinding(name);
}

bool SimulatedClient::IsPresent(const std::string& name) const {
  auto it = promises_.find(name);
  return it != promises_.end() && it->second.present;
}

void SimulatedClient::CreateMachine() {
  auto body = std::make_shared<v1::CreateVirtualMachineRequest>();
  device_ = absl::StrFormat("0000:%02x:00.0", 1 + scheduler_.choices().Below(2));
  body->mutable_virtual_machine()->set_name(vm_name_);
  auto& placement = *body->mutable_virtual_machine()->mutable_spec()->mutable_placement();
  host_ = absl::StrCat("hosts/", scheduler_.choices().Among(hosts_));
  placement.set_host(host_);
  placement.add_devices(device_);
  const std::string what =
      absl::StrCat("create ", vm_name_, " on ", placement.host(), " ", device_);
  Send(
      what, body,
      [body, uids = server_.uids()](const server::View& view, absl::Time now) {
        return server::CreateVirtualMachine(view, now, uids, *body);
      },
      [this](const google::protobuf::Message& reply) {
        const auto& metadata = static_cast<const v1::VirtualMachine&>(reply).metadata();
        promises_[vm_name_] = {true, metadata.uid(), metadata.generation(), {}};
      });
}

void SimulatedClient::MoveMachine() {
  auto body = std::make_shared<v1::UpdateVirtualMachineRequest>();
  const std::string to = absl::StrCat("hosts/", scheduler_.choices().Among(hosts_));
  body->mutable_virtual_machine()->set_name(vm_name_);
  auto& placement = *body->mutable_virtual_machine()->mutable_spec()->mutable_placement();
  placement.set_host(to);
  placement.add_devices(device_);
  Send(
      absl::StrCat("move ", vm_name_, " to ", to), body,
      [body](const server::View& view, absl::Time now) {
        return server::UpdateVirtualMachine(view, now, *body);
      },
      [this, to](const google::protobuf::Message& reply) {
        promises_[vm_name_].generation =
            static_cast<const v1::VirtualMachine&>(reply).metadata().generation();
        if (to == host_) return;
        host_ = to;
        for (const std::string& name : binding_names_) ++promises_[name].generation;
      });
}

void SimulatedClient::DeleteMachine() {
  auto body = std::make_shared<v1::DeleteVirtualMachineRequest>();
  body->set_name(vm_name_);
  body->set_force(true);
  Send(
      "delete " + vm_name_, body,
      [body](const server::View& view, absl::Time now) {
        return server::DeleteVirtualMachine(view, now, *body);
      },
      [this](const google::protobuf::Message&) {
        for (auto& [name, promise] : promises_) promise.present = false;
      });
}

// Never the same twice in a row, which would change nothing.
uint64_t SimulatedClient::NewRoot() { return 0x1000 * (1 + roots_++ % 256); }

v1::PasidBinding SimulatedClient::Wanted(const std::string& name) {
  v1::PasidBinding binding;
  binding.set_name(name);
  binding.mutable_spec()->set_device(device_);
  // One of the machine's own, so that two bindings sometimes want the same.
  binding.mutable_spec()->set_pasid(
      static_cast<uint32_t>(100 * (number_ + 1) + scheduler_.choices().Below(5)));
  binding.mutable_spec()->set_allow_translation_gap(true);
  v1::PageTable& table = *binding.mutable_spec()->mutable_page_table();
  table.set_format(v1::PageTable::FORMAT_VTD_S1);
  table.set_root(NewRoot());
  table.set_address_width(48);
  return binding;
}

void SimulatedClient::Expect(const v1::PasidBinding& binding) {
  promises_[binding.name()] = {true, binding.metadata().uid(), binding.metadata().generation(),
                               binding};
  promises_[binding.name()].binding.mutable_metadata()->clear_etag();
}

void SimulatedClient::CreateBinding(const std::string& name) {
  auto body = std::make_shared<v1::CreatePasidBindingRequest>();
  *body->mutable_pasid_binding() = Wanted(name);
  Send(
      absl::StrCat("create ", name, " pasid ", body->pasid_binding().spec().pasid()), body,
      [body, uids = server_.uids()](const server::View& view, absl::Time now) {
        return server::CreatePasidBinding(view, now, uids, *body);
      },
      [this](const google::protobuf::Message& reply) {
        Expect(static_cast<const v1::PasidBinding&>(reply));
      });
}

void SimulatedClient::UpdateBinding(const std::string& name) {
  auto body = std::make_shared<v1::UpdatePasidBindingRequest>();
  *body->mutable_pasid_binding() = promises_[name].binding;
  body->mutable_pasid_binding()->mutable_spec()->mutable_page_table()->set_root(NewRoot());
  body->mutable_update_mask()->add_paths("spec.page_table");
  Send(
      "change " + name, body,
      [body](const server::View& view, absl::Time now) {
        return server::UpdatePasidBinding(view, now, *body);
      },
      [this](const google::protobuf::Message& reply) {
        Expect(static_cast<const v1::PasidBinding&>(reply));
      });
}

void SimulatedClient::DeleteBinding(const std::string& name) {
  auto body = std::make_shared<v1::DeletePasidBindingRequest>();
  body->set_name(name);
  Send(
      "delete " + name, body,
      [body](const server::View& view, absl::Time now) {
        return server::DeletePasidBinding(view, now, *body);
      },
      [this, name](const google::protobuf::Message&) { promises_[name].present = false; });
}

void SimulatedClient::Send(std::string what, std::shared_ptr<google::protobuf::Message> body,
                           server::ClusterState::Decide decide,
                           std::function<void(const google::protobuf::Message& reply)> on_success) {
  auto request = std::make_shared<Request>();
  *request = {std::move(what),   scheduler_.NewUuid(),  std::move(body),
              std::move(decide), std::move(on_success), 0};
  busy_ = true;
  Try(request);
}

void SimulatedClient::Try(const std::shared_ptr<Request>& request) {
  const int attempt = ++request->attempts;
  auto again = [this, request, attempt] { TryAgain(request, attempt); };
  process_.PostAfter(kPatience, again);
  network_.Call(
      machine_, SimulatedServer::kMachine,
      [this, request, attempt, again] {
        if (!server_.running()) return;
        server::ClusterState::MutateOptions options;
        options.request_id = request->id;
        options.scope = "p";
        options.request_hash = server::Fingerprint(*request->body);
        server_.Mutate(request->decide, options,
                       [this, request, attempt, again](absl::StatusOr<server::Applied> applied) {
                         network_.Reply(
                             SimulatedServer::kMachine, machine_,
                             [this, request, attempt, applied = std::move(applied)] {
                               OnAnswer(request, attempt, applied);
                             },
                             again);
                       });
      },
      again);
}

void SimulatedClient::TryAgain(const std::shared_ptr<Request>& request, int attempt) {
  if (request->attempts != attempt || !busy_) return;
  ++request->attempts;  // what this attempt still brings is not looked at
  process_.PostAfter(scheduler_.choices().Between(absl::Milliseconds(100), absl::Seconds(1)),
                     [this, request] { Try(request); });
}

void SimulatedClient::OnAnswer(const std::shared_ptr<Request>& request, int attempt,
                               const absl::StatusOr<server::Applied>& applied) {
  if (request->attempts != attempt || !busy_) return;
  const absl::StatusCode code = applied.status().code();
  if (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted) {
    return TryAgain(request, attempt);
  }
  ++request->attempts;
  busy_ = false;
  scheduler_.Note(machine_, ": ", request->what, ": ",
                  applied.ok() ? "done" : ErrorReason(applied.status()));
  if (applied.ok()) request->on_success(*applied->reply);
}

}  // namespace nestor::simulation
