#include "agent/shim/shim_service.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/shim/shim_message.h"
#include "api/support/log.h"
#include "api/support/proto_time.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// Calls that wait for the kernel or for the monitor's part of the work.
bool MayBlock(const wire::Call& call) {
  switch (call.call_case()) {
    case wire::Call::kVmmConnected:
    case wire::Call::kMapMemory:
    case wire::Call::kUnmapMemory:
    case wire::Call::kRegionSize:
    case wire::Call::kReadRegion:
    case wire::Call::kWriteRegion:
    case wire::Call::kResetDevice:
      return true;
    default:
      return false;
  }
}

// The version to speak with an agent. FAILED_PRECONDITION: there is none.
absl::StatusOr<uint32_t> AgreeOnVersion(const wire::Hello& hello) {
  const uint32_t version = std::min(hello.newest_version(), kNewestShimProtocol);
  if (version >= std::max(hello.oldest_version(), kOldestShimProtocol)) return version;
  return absl::FailedPreconditionError(absl::StrCat(
      "the shim speaks versions ", kOldestShimProtocol, " to ", kNewestShimProtocol,
      " of its protocol, the agent ", hello.oldest_version(), " to ", hello.newest_version()));
}

}  // namespace

// One connection.
struct ShimService::Agent {
  explicit Agent(PacketSocket connected) : socket(std::move(connected)) {}

  // Sends the parts of one answer. An agent that takes nothing is let go.
  void Send(const std::vector<wire::Answer>& answer) {
    const std::lock_guard lock(send_mutex);
    for (const wire::Answer& part : answer) {
      const absl::Status sent = socket.Send(part.SerializeAsString());
      if (sent.ok()) continue;
      log::Warn({}, "no more of this agent: {}", log::Text(sent));
      socket.Shutdown();
      return;
    }
  }

  PacketSocket socket;
  std::mutex send_mutex;
  std::atomic<bool> greeted = false;
  wire::Call parts;  // of the call that is not whole yet
};

// Does one call and makes its answer.
class ShimService::Answerer {
 public:
  Answerer(const ShimIdentity& identity, const ServedShim& served, FileDescriptor descriptor)
      : identity_(identity), served_(served), descriptor_(std::move(descriptor)) {}

  std::vector<wire::Answer> Do(const wire::Call& call) {
    const absl::Status status = Dispatch(call);
    if (answers_.empty()) answers_.emplace_back();
    if (!status.ok()) *answers_.front().mutable_status() = ToWire(status);
    for (wire::Answer& answer : answers_) {
      answer.set_id(call.id());
      answer.set_more(&answer != &answers_.back());
    }
    return std::move(answers_);
  }

 private:
  absl::Status Dispatch(const wire::Call& call) {
    Shim& shim = served_.shim;
    switch (call.call_case()) {
      case wire::Call::kHello:
        return Greet(call.hello());
      case wire::Call::kApply:
        return Apply(call.apply());
      case wire::Call::kInventory:
        return List();
      case wire::Call::kOpenEndpoint:
        return Open(call.open_endpoint());
      case wire::Call::kCloseEndpoint:
        served_.endpoints.Close(identity_.vm_name, call.close_endpoint());
        return absl::OkStatus();
      case wire::Call::kRetire:
        return served_.retire();
      case wire::Call::kVmmConnected:
        return Data(shim.VmmConnected(call.vmm_connected()));
      case wire::Call::kVmmDisconnected:
        shim.VmmDisconnected(call.vmm_disconnected());
        return absl::OkStatus();
      case wire::Call::kMapMemory:
        return Map(call.map_memory());
      case wire::Call::kUnmapMemory:
        return shim.UnmapMemory(call.unmap_memory().device(), call.unmap_memory().guest_address(),
                                call.unmap_memory().size());
      case wire::Call::kRegionSize:
        return Size(call.region_size());
      case wire::Call::kReadRegion:
        return Read(call.read_region());
      case wire::Call::kWriteRegion:
        return shim.WriteRegion(call.write_region().device(), call.write_region().region(),
                                call.write_region().offset(), call.write_region().data());
      case wire::Call::kResetDevice:
        return shim.ResetDevice(call.reset_device());
      case wire::Call::kInvalidate:  // answered later, by the shim
      case wire::Call::CALL_NOT_SET:
        break;
    }
    return absl::UnimplementedError("this shim does not know that call");
  }

  absl::Status Greet(const wire::Hello& hello) {
    ASSIGN_OR_RETURN(const uint32_t version, AgreeOnVersion(hello));
    wire::HelloAnswer& answer = *answers_.emplace_back().mutable_hello();
    answer.set_version(version);
    answer.set_program_version(identity_.program_version);
    answer.set_vm_name(identity_.vm_name);
    answer.set_vm_uid(identity_.vm_uid);
    answer.set_pid(getpid());
    return absl::OkStatus();
  }

  absl::Status Apply(const wire::Apply& apply) {
    return served_.shim.Apply(apply.fence(), apply.has_machine() ? &apply.machine() : nullptr,
                              {apply.bindings().begin(), apply.bindings().end()});
  }

  absl::Status List() {
    for (wire::Inventory& page :
         ToPages(served_.shim.Inventory(), served_.endpoints.Opened(identity_.vm_name))) {
      *answers_.emplace_back().mutable_inventory() = std::move(page);
    }
    return absl::OkStatus();
  }

  // A new agent does not know what its predecessor opened.
  absl::Status Open(const Bdf& device) {
    if (served_.endpoints.Opened(identity_.vm_name).contains(device)) return absl::OkStatus();
    // Not owned: the endpoints end before the shim.
    const std::shared_ptr<Shim> shim(std::shared_ptr<void>(), &served_.shim);
    return served_.endpoints.Open(identity_.vm_name, device, shim);
  }

  absl::Status Map(const wire::MapMemory& memory) {
    return served_.shim.MapMemory(memory.device(), {.guest_address = memory.guest_address(),
                                                    .size = memory.size(),
                                                    .fd = descriptor_.Release(),
                                                    .offset = memory.offset(),
                                                    .writable = memory.writable()});
  }

  absl::Status Size(const wire::RegionAccess& access) {
    ASSIGN_OR_RETURN(const uint64_t size,
                     served_.shim.RegionSize(access.device(), access.region()));
    answers_.emplace_back().set_size(size);
    return absl::OkStatus();
  }

  absl::Status Read(const wire::RegionAccess& access) {
    if (access.size() > kPageBytes) return absl::OutOfRangeError("more than a packet can carry");
    return Data(
        served_.shim.ReadRegion(access.device(), access.region(), access.offset(), access.size()));
  }

  absl::Status Data(absl::StatusOr<std::string> data) {
    if (!data.ok()) return data.status();
    answers_.emplace_back().set_data(*std::move(data));
    return absl::OkStatus();
  }

  const ShimIdentity& identity_;
  const ServedShim& served_;
  FileDescriptor descriptor_;  // that came with the call
  std::vector<wire::Answer> answers_;
};

ShimService::ShimService(ShimIdentity identity, FileDescriptor listener)
    : identity_(std::move(identity)),
      listener_(std::move(listener)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ShimService::~ShimService() = default;

void ShimService::Report(ShimReport report) {
  for (const wire::Report& page : ToPages(std::move(report))) SendReport(page);
}

void ShimService::ReportStep(const Step& step, const StepResult& result) {
  wire::Report report;
  wire::StepDone& done = *report.add_steps();
  done.set_name(std::string(NameOf(step)));
  *done.mutable_duration() = ToProtoDuration(result.duration);
  if (!result.status.ok()) *done.mutable_status() = ToWire(result.status);
  if (result.reset.has_value()) {
    done.set_device(DeviceOf(step));
    *done.mutable_reset() = ToWire(*result.reset);
  }
  SendReport(report);
}

void ShimService::SendReport(const wire::Report& report) {
  const std::shared_ptr<Agent> to = agent();
  if (to == nullptr || !to->greeted) return;
  wire::Answer answer;
  *answer.mutable_report() = report;
  to->Send({answer});
}

std::shared_ptr<ShimService::Agent> ShimService::agent() const {
  const std::lock_guard lock(mutex_);
  return agent_;
}

void ShimService::Run(const ServedShim& served) {
  while (!ended_) {
    const std::shared_ptr<Agent> present = agent();
    std::array<pollfd, 3> waited = {{{stop_.get(), POLLIN, 0},
                                     {listener_.get(), POLLIN, 0},
                                     {present == nullptr ? -1 : present->socket.fd(), POLLIN, 0}}};
    if (poll(waited.data(), waited.size(), -1) < 0) continue;
    if (waited[2].revents != 0) {
      TakePacket(served);
    } else if (waited[1].revents != 0) {
      TakeAgent();
    }
  }
  blocking_calls_.Stop();
}

void ShimService::Stop() {
  ended_ = true;
  const uint64_t one = 1;
  static_cast<void>(write(stop_.get(), &one, sizeof(one)));
}

void ShimService::TakeAgent() {
  absl::StatusOr<PacketSocket> socket = AcceptPackets(listener_.get());
  if (!socket.ok()) return log::Warn({}, "{}", log::Text(socket.status()));
  const std::lock_guard lock(mutex_);
  if (agent_ != nullptr) agent_->socket.Shutdown();
  agent_ = std::make_shared<Agent>(*std::move(socket));
}

void ShimService::TakePacket(const ServedShim& served) {
  const std::shared_ptr<Agent> from = agent();
  absl::StatusOr<Packet> packet = from->socket.Receive();
  wire::Call part;
  if (packet.ok() && !part.ParseFromString(packet->bytes)) {
    packet = absl::InvalidArgumentError("a packet that is no call");
  }
  if (!packet.ok()) {
    log::Info({}, "without an agent: {}", log::Text(packet.status()));
    const std::lock_guard lock(mutex_);
    agent_.reset();
    return;
  }
  from->parts.MergeFrom(part);
  if (part.more()) return;
  const wire::Call call = std::exchange(from->parts, {});
  if (!from->greeted && !call.has_hello()) return from->socket.Shutdown();
  if (call.has_invalidate()) {
    const wire::Invalidate& range = call.invalidate();
    served.shim.Invalidate({range.device(), range.pasid()}, range.address(), range.size(),
                           [from, id = call.id()](const absl::Status& status) {
                             wire::Answer answer;
                             answer.set_id(id);
                             *answer.mutable_status() = ToWire(status);
                             from->Send({answer});
                           });
  } else if (MayBlock(call)) {
    auto descriptor = std::make_shared<FileDescriptor>(std::move(packet->descriptor));
    blocking_calls_.Post([this, &served, from, call, descriptor] {
      Serve(served, from, call, std::move(*descriptor));
    });
  } else {
    Serve(served, from, call, std::move(packet->descriptor));
  }
}

void ShimService::Serve(const ServedShim& served, const std::shared_ptr<Agent>& agent,
                        const wire::Call& call, FileDescriptor descriptor) {
  const std::vector<wire::Answer> answers =
      Answerer(identity_, served, std::move(descriptor)).Do(call);
  const bool done = !answers.front().has_status();
  if (call.has_retire() && done) ended_ = true;
  agent->Send(answers);
  if (call.has_hello() && done) agent->greeted = true;
}

}  // namespace nestor::agent
