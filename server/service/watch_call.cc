#include "server/service/watch_call.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "api/support/status_macros.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

constexpr auto kBookmarkInterval = std::chrono::seconds(10);

std::optional<v1::WatchRequest::Kind> KindOf(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kHost:
      return v1::WatchRequest::KIND_HOST;
    case ResourceKind::kVirtualMachine:
      return v1::WatchRequest::KIND_VIRTUAL_MACHINE;
    case ResourceKind::kPasidBinding:
      return v1::WatchRequest::KIND_PASID_BINDING;
    case ResourceKind::kDevice:
      break;
  }
  return std::nullopt;
}

template <typename Resource>
void FillDeleted(const StateChange& change, Resource* resource) {
  resource->set_name(change.name);
  resource->mutable_metadata()->set_uid(change.uid);
  resource->mutable_metadata()->set_revision(change.revision);
}

}  // namespace

WatchCall* WatchCall::Start(ClusterState& state, const WatchHistory& history, ParkedCalls& parked,
                            const v1::WatchRequest& request) {
  std::shared_ptr<WatchCall> call(new WatchCall(state, history, parked, request));
  call->self_ = call;
  const std::weak_ptr<WatchCall> weak = call;
  call->ticket_ = parked.Add([weak] {
    if (auto held = weak.lock()) {
      held->End(errors::Unavailable("the server is stopping", absl::Seconds(1)));
    }
  });
  absl::Status status = call->ticket_ == 0
                            ? errors::Unavailable("the server is stopping", absl::Seconds(1))
                            : call->Prepare();
  if (!status.ok()) {
    call->End(status);
    return call.get();
  }
  call->ArmBookmark();
  call->Advance();
  return call.get();
}

absl::Status WatchCall::Prepare() {
  RETURN_IF_ERROR(Validate(request_));
  const std::weak_ptr<WatchCall> weak = self_;
  subscription_ = state_.Subscribe([weak](const std::vector<StateChange>&) {
    if (auto held = weak.lock()) held->Advance();
  });
  if (request_.resume_token().empty()) {
    TakeSnapshot();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const WatchPosition position, history_.ParseToken(request_.resume_token()));
  ASSIGN_OR_RETURN(const int64_t sequence, history_.FindAfter(position));
  std::lock_guard lock(mutex_);
  position_ = position;
  sequence_ = sequence;
  synced_ = true;
  return absl::OkStatus();
}

void WatchCall::TakeSnapshot() {
  std::lock_guard lock(mutex_);
  // Taken first: what changes between here and the view is skipped by its revision.
  sequence_ = history_.end();
  state_.Read([&](const View& view) {
    skip_through_ = view.head_revision();
    auto add = [&](ResourceKind kind, const std::string& name) {
      if (Wants(kind, name)) snapshot_.emplace_back(kind, name);
    };
    for (const auto& [id, host] : view.hosts()) {
      if (host.revision > 0) add(ResourceKind::kHost, "hosts/" + id);
    }
    for (const auto& [name, machine] : view.virtual_machines()) {
      add(ResourceKind::kVirtualMachine, name);
    }
    for (const auto& [name, binding] : view.pasid_bindings()) {
      add(ResourceKind::kPasidBinding, name);
    }
  });
  position_ = {skip_through_, WatchPosition::kWholeRevision};
}

bool WatchCall::Wants(ResourceKind resource, const std::string& name) const {
  const auto kind = KindOf(resource);
  const auto& kinds = request_.kinds();
  if (!kind || std::find(kinds.begin(), kinds.end(), *kind) == kinds.end()) return false;
  return request_.parent().empty() || name == request_.parent() ||
         absl::StartsWith(name, absl::StrCat(request_.parent(), "/"));
}

void WatchCall::Advance() {
  absl::Status failed;
  {
    std::lock_guard lock(mutex_);
    if (writing_ || finished_) return;
    auto next = NextMessage();
    failed = next.status();
    if (next.ok() && *next) {
      writing_ = true;
      StartWrite(&message_);
    }
  }
  if (!failed.ok()) End(failed);
}

absl::StatusOr<bool> WatchCall::NextMessage() {
  message_.Clear();
  while (snapshot_written_ < snapshot_.size()) {
    const auto& [kind, name] = snapshot_[snapshot_written_++];
    // One that is gone meanwhile is told as a change.
    if (Render(kind, name)) return true;
  }
  snapshot_ = {};
  snapshot_written_ = 0;
  if (!synced_) {
    synced_ = true;
    message_.set_type(v1::WatchResponse::TYPE_SYNCED);
    message_.set_resume_token(history_.MakeToken(position_));
    return true;
  }
  ASSIGN_OR_RETURN(const bool changed, NextChange());
  if (changed || !bookmark_due_) return changed;
  bookmark_due_ = false;
  message_.set_type(v1::WatchResponse::TYPE_BOOKMARK);
  message_.set_resume_token(history_.MakeToken(position_));
  return true;
}

absl::StatusOr<bool> WatchCall::NextChange() {
  for (;; ++sequence_) {
    ASSIGN_OR_RETURN(const std::optional<HistoryEntry> entry, history_.Get(sequence_));
    if (!entry) return false;
    if (entry->change.revision <= skip_through_) continue;
    position_ = {entry->change.revision, entry->index};
    if (!Wants(entry->change.kind, entry->change.name)) continue;
    if (entry->change.deleted) {
      message_.set_type(v1::WatchResponse::TYPE_DELETED);
      switch (entry->change.kind) {
        case ResourceKind::kHost:
          FillDeleted(entry->change, message_.mutable_host());
          break;
        case ResourceKind::kVirtualMachine:
          FillDeleted(entry->change, message_.mutable_virtual_machine());
          break;
        default:
          FillDeleted(entry->change, message_.mutable_pasid_binding());
      }
    } else if (!Render(entry->change.kind, entry->change.name)) {
      continue;  // its deletion follows
    }
    message_.set_resume_token(history_.MakeToken(position_));
    ++sequence_;
    return true;
  }
}

bool WatchCall::Render(ResourceKind kind, const std::string& name) {
  message_.set_type(v1::WatchResponse::TYPE_PUT);
  bool exists = false;
  state_.Read([&](const View& view) {
    if (kind == ResourceKind::kHost) {
      const std::string id(absl::StripPrefix(name, "hosts/"));
      exists = view.FindHost(id) != nullptr;
      if (exists) *message_.mutable_host() = view.HostResource(id);
    } else if (kind == ResourceKind::kVirtualMachine) {
      exists = view.FindVirtualMachine(name) != nullptr;
      if (exists) *message_.mutable_virtual_machine() = view.VirtualMachineResource(name);
    } else {
      exists = view.FindPasidBinding(name) != nullptr;
      if (exists) *message_.mutable_pasid_binding() = view.PasidBindingResource(name);
    }
  });
  return exists;
}

void WatchCall::ArmBookmark() {
  const std::weak_ptr<WatchCall> weak = self_;
  std::lock_guard lock(mutex_);
  if (finished_) return;
  // A new one each time: the old one may be the caller.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(std::chrono::system_clock::now() + kBookmarkInterval, [weak](bool expired) {
    auto held = weak.lock();
    if (!held || !expired) return;
    {
      std::lock_guard inner(held->mutex_);
      held->bookmark_due_ = true;
    }
    held->Advance();
    held->ArmBookmark();
  });
}

void WatchCall::End(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  Finish(ToGrpcStatus(status));
}

void WatchCall::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
  }
  if (ok) {
    Advance();
  } else {
    End(absl::CancelledError("the watcher is gone"));
  }
}

void WatchCall::OnCancel() { End(absl::CancelledError("cancelled")); }

void WatchCall::OnDone() {
  parked_.Remove(ticket_);
  // After this no listener runs; what may still hold a reference is an alarm.
  subscription_.reset();
  {
    std::lock_guard lock(mutex_);
    alarm_.reset();
  }
  auto last = std::move(self_);
}

}  // namespace nestor::server
