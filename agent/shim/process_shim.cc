#include "agent/shim/process_shim.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/file_descriptor.h"
#include "api/support/log.h"
#include "api/support/proto_time.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

absl::Status Lost() { return absl::UnavailableError("the owner of this machine has ended"); }

wire::RegionAccess Access(const Bdf& device, uint32_t region, uint64_t offset) {
  wire::RegionAccess access;
  access.set_device(device);
  access.set_region(region);
  access.set_offset(offset);
  return access;
}

}  // namespace

absl::StatusOr<std::shared_ptr<ProcessShim>> ProcessShim::Connect(
    const std::string& path, const ShimProtocolVersions& versions, const ShimEvents& events) {
  ASSIGN_OR_RETURN(PacketSocket socket, PacketSocket::Connect(path));
  std::shared_ptr<ProcessShim> shim(new ProcessShim(std::move(socket), events));
  const absl::Status greeted = shim->Greet(versions);
  if (greeted.ok()) return shim;
  return absl::Status(greeted.code(), absl::StrCat("shim at ", path, ": ", greeted.message()));
}

ProcessShim::ProcessShim(PacketSocket socket, const ShimEvents& events)
    : events_(events), socket_(std::move(socket)) {
  thread_ = std::thread([this] { Listen(); });
}

ProcessShim::~ProcessShim() {
  SetClosing(true);
  socket_.Shutdown();
  thread_.join();
}

std::string ProcessShim::Describe() const {
  return absl::StrCat("shim of ", hello_.vm_name(), ", process ", hello_.pid(), ", version ",
                      hello_.program_version(), ", protocol ", hello_.version());
}

bool ProcessShim::IsAlive() {
  const std::lock_guard lock(mutex_);
  return !lost_;
}

absl::Status ProcessShim::Greet(const ShimProtocolVersions& versions) {
  wire::Call call;
  call.mutable_hello()->set_oldest_version(versions.oldest);
  call.mutable_hello()->set_newest_version(versions.newest);
  return AskQuick(std::move(call)).status();
}

void ProcessShim::Listen() {
  absl::StatusOr<Packet> packet = socket_.Receive();
  for (; packet.ok(); packet = socket_.Receive()) {
    wire::Answer answer;
    if (!answer.ParseFromString(packet->bytes)) break;
    Take(std::move(answer));
  }
  bool told = false;
  {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    told = !closing_ && !hello_.vm_uid().empty();
  }
  changed_.notify_all();
  TellLost();
  if (told) events_.lost(vm_uid());
}

void ProcessShim::Take(wire::Answer answer) {
  if (answer.id() == 0) return TakeReport(std::move(*answer.mutable_report()));
  InvalidateDone tell;
  {
    const std::lock_guard lock(mutex_);
    const auto waiting = pending_.find(answer.id());
    if (waiting == pending_.end()) return;
    // Here, since a report may be the next packet.
    if (answer.has_hello()) hello_ = answer.hello();
    waiting->second.done = !answer.more();
    waiting->second.answer.MergeFrom(answer);
    tell = std::move(waiting->second.tell);
    if (tell) pending_.erase(waiting);
  }
  changed_.notify_all();
  if (tell) tell(FromWire(answer.status()));
}

void ProcessShim::TakeReport(wire::Report message) {
  for (const wire::StepDone& step : message.steps()) {
    if (events_.on_step) {
      events_.on_step(step.name(), FromProtoDuration(step.duration()), FromWire(step.status()));
    }
    if (events_.on_reset && step.has_reset()) {
      events_.on_reset(step.device(), FromWire(step.reset()));
    }
  }
  ShimReport report = FromWire(std::move(message));
  if (report.virtual_machines.empty() && report.bindings.empty()) return;
  events_.report(vm_uid(), std::move(report));
}

void ProcessShim::TellLost() {
  std::vector<InvalidateDone> waiting;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (it->second.tell) {
        waiting.push_back(std::move(it->second.tell));
        it = pending_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (const InvalidateDone& tell : waiting) tell(Lost());
}

std::optional<uint64_t> ProcessShim::NewCall(InvalidateDone tell) {
  const std::lock_guard lock(mutex_);
  if (lost_) return std::nullopt;
  pending_[next_id_].tell = std::move(tell);
  return next_id_++;
}

absl::StatusOr<wire::Answer> ProcessShim::AskQuick(wire::Call call) {
  return Ask({std::move(call)}, kPacketPatience);
}

absl::StatusOr<wire::Answer> ProcessShim::AskSlow(wire::Call call, int descriptor) {
  return Ask({std::move(call)}, absl::InfiniteDuration(), descriptor);
}

absl::StatusOr<wire::Answer> ProcessShim::Ask(std::vector<wire::Call> parts,
                                              absl::Duration patience, int descriptor) {
  const std::optional<uint64_t> id = NewCall();
  if (!id.has_value()) return Lost();
  for (wire::Call& part : parts) {
    part.set_id(*id);
    part.set_more(&part != &parts.back());
  }
  const absl::Status sent = Send(parts, descriptor);
  std::unique_lock lock(mutex_);
  if (!sent.ok()) {
    pending_.erase(*id);
    return sent;
  }
  const auto settled = [&] { return pending_[*id].done || lost_; };
  if (patience == absl::InfiniteDuration()) {
    changed_.wait(lock, settled);
  } else if (!changed_.wait_for(lock, absl::ToChronoNanoseconds(patience), settled)) {
    // It may still act on the call, which must not be mistaken for one that never came.
    socket_.Shutdown();
  }
  const Pending result = std::move(pending_.extract(*id).mapped());
  if (!result.done) return Lost();
  RETURN_IF_ERROR(FromWire(result.answer.status()));
  return result.answer;
}

absl::Status ProcessShim::Send(const std::vector<wire::Call>& parts, int descriptor) {
  const std::lock_guard lock(send_mutex_);
  for (const wire::Call& part : parts) {
    RETURN_IF_ERROR(socket_.Send(part.SerializeAsString(), descriptor));
  }
  return absl::OkStatus();
}

absl::Status ProcessShim::Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                                const std::vector<v1::DesiredBinding>& bindings) {
  std::vector<wire::Call> parts;
  for (wire::Apply& page : ToPages(fence, machine, bindings)) {
    *parts.emplace_back().mutable_apply() = std::move(page);
  }
  return Ask(std::move(parts), kPacketPatience).status();
}

ShimInventory ProcessShim::Inventory() {
  wire::Call call;
  call.mutable_inventory();
  const absl::StatusOr<wire::Answer> answer = AskQuick(std::move(call));
  if (answer.ok()) return FromWire(answer->inventory());
  ShimInventory nothing;
  nothing.virtual_machine.set_name(vm_name());
  nothing.virtual_machine.set_uid(vm_uid());
  return nothing;
}

absl::StatusOr<std::string> ProcessShim::VmmConnected(const Bdf& device) {
  wire::Call call;
  call.set_vmm_connected(device);
  ASSIGN_OR_RETURN(wire::Answer answer, AskSlow(std::move(call)));
  return std::move(*answer.mutable_data());
}

void ProcessShim::VmmDisconnected(const Bdf& device) {
  wire::Call call;
  call.set_vmm_disconnected(device);
  AskQuick(std::move(call)).IgnoreError();
}

absl::Status ProcessShim::MapMemory(const Bdf& device, const GuestMemory& memory) {
  const FileDescriptor descriptor(memory.fd);
  wire::Call call;
  *call.mutable_map_memory() = ToWire(device, memory);
  return AskSlow(std::move(call), descriptor.get()).status();
}

absl::Status ProcessShim::UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size) {
  wire::Call call;
  call.mutable_unmap_memory()->set_device(device);
  call.mutable_unmap_memory()->set_guest_address(guest_address);
  call.mutable_unmap_memory()->set_size(size);
  return AskSlow(std::move(call)).status();
}

absl::StatusOr<uint64_t> ProcessShim::RegionSize(const Bdf& device, uint32_t region) {
  wire::Call call;
  *call.mutable_region_size() = Access(device, region, 0);
  ASSIGN_OR_RETURN(const wire::Answer answer, AskSlow(std::move(call)));
  return answer.size();
}

absl::StatusOr<std::string> ProcessShim::ReadRegion(const Bdf& device, uint32_t region,
                                                    uint64_t offset, size_t size) {
  wire::Call call;
  *call.mutable_read_region() = Access(device, region, offset);
  call.mutable_read_region()->set_size(size);
  ASSIGN_OR_RETURN(wire::Answer answer, AskSlow(std::move(call)));
  return std::move(*answer.mutable_data());
}

absl::Status ProcessShim::WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                      const std::string& data) {
  wire::Call call;
  *call.mutable_write_region() = Access(device, region, offset);
  call.mutable_write_region()->set_data(data);
  return AskSlow(std::move(call)).status();
}

absl::Status ProcessShim::ResetDevice(const Bdf& device) {
  wire::Call call;
  call.set_reset_device(device);
  return AskSlow(std::move(call)).status();
}

void ProcessShim::Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                             InvalidateDone done) {
  wire::Call call;
  call.mutable_invalidate()->set_device(key.device);
  call.mutable_invalidate()->set_pasid(key.pasid);
  call.mutable_invalidate()->set_address(address);
  call.mutable_invalidate()->set_size(size);
  const std::optional<uint64_t> id = NewCall(done);
  if (!id.has_value()) return done(Lost());
  call.set_id(*id);
  if (Send({call}, -1).ok()) return;
  // Unless the thread was quicker to find the shim lost.
  const auto lost = [&] {
    const std::lock_guard lock(mutex_);
    return !pending_.extract(*id).empty();
  };
  if (lost()) done(Lost());
}

absl::Status ProcessShim::OpenEndpoint(const Bdf& device) {
  wire::Call call;
  call.set_open_endpoint(device);
  return AskQuick(std::move(call)).status();
}

void ProcessShim::CloseEndpoint(const Bdf& device) {
  wire::Call call;
  call.set_close_endpoint(device);
  AskQuick(std::move(call)).IgnoreError();
}

std::set<Bdf> ProcessShim::OpenEndpoints() {
  wire::Call call;
  call.mutable_inventory();
  const absl::StatusOr<wire::Answer> answer = AskQuick(std::move(call));
  if (!answer.ok()) return {};
  return {answer->inventory().endpoints().begin(), answer->inventory().endpoints().end()};
}

absl::Status ProcessShim::Retire() {
  // Its end is then no loss.
  SetClosing(true);
  wire::Call call;
  call.mutable_retire();
  const absl::Status status = AskQuick(std::move(call)).status();
  if (!status.ok()) SetClosing(false);
  return status;
}

void ProcessShim::SetClosing(bool closing) {
  const std::lock_guard lock(mutex_);
  closing_ = closing;
}

}  // namespace nestor::agent
