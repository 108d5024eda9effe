#include "tests/chaos/churn.h"

#include <functional>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/component/local_cluster.h"

namespace nestor::chaos {
namespace {

using testing::CallContext;

constexpr size_t kMostHeld = 8;
constexpr absl::Duration kAttempt = absl::Seconds(3);
// Longer than any fault and what it takes to recover from it.
constexpr absl::Duration kPatience = absl::Minutes(2);

// Whether the same request may still have another answer.
bool IsPassing(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::CANCELLED:
      return true;
    default:
      return false;
  }
}

// Repeats `call` until its answer is final.
grpc::Status Insist(const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  const absl::Time deadline = absl::Now() + kPatience;
  for (;;) {
    CallContext context(kAttempt);
    grpc::Status status = call(context);
    if (!IsPassing(status.error_code()) || absl::Now() > deadline) return status;
    absl::SleepFor(absl::Milliseconds(50));
  }
}

std::string Describe(const grpc::Status& status) {
  return absl::StrCat("code ", status.error_code(), ": ", status.error_message());
}

}  // namespace

Churn::Churn(v1::PasidBindingService::Stub& bindings, Options options)
    : bindings_(bindings), options_(std::move(options)), random_(options_.seed) {
  thread_ = std::thread([this] { Run(); });
}

Churn::~Churn() { Stop(); }

void Churn::Stop() {
  stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

std::vector<std::string> Churn::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

void Churn::Lose(const std::string& what) {
  const std::lock_guard lock(mutex_);
  lost_.push_back(what);
}

std::string Churn::Name(const std::string& id) const {
  return absl::StrCat("projects/test/virtualMachines/", options_.vm, "/pasidBindings/", id);
}

std::string Churn::NewRequestId() {
  return absl::StrFormat("%08x-0000-4000-8000-%012x", options_.first_pasid, ++requests_);
}

std::string Churn::Any() {
  return std::next(held_.begin(), static_cast<int>(random_() % held_.size()))->first;
}

void Churn::Run() {
  while (!stopped_) {
    const uint64_t choice = random_() % 4;
    if (held_.empty() || (choice == 0 && held_.size() < kMostHeld)) {
      Create();
    } else if (choice == 1 && held_.size() > 1) {
      Delete(Any());
    } else if (choice == 2) {
      ChangeRoot(Any());
    } else {
      Check(Any());
    }
  }
}

void Churn::Create() {
  const std::string id = absl::StrCat("b", ++created_);
  Intent intent{.uid = "",
                .pasid = options_.first_pasid + created_,
                .root = options_.roots[random_() % options_.roots.size()]};
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() =
      testing::TestBinding(options_.vm, id, options_.device, intent.pasid, intent.root);
  request.mutable_pasid_binding()->mutable_spec()->set_allow_translation_gap(true);
  request.set_request_id(NewRequestId());
  v1::PasidBinding created;
  const grpc::Status status = Insist([&](grpc::ClientContext* context) {
    return bindings_.CreatePasidBinding(context, request, &created);
  });
  if (!status.ok()) return Lose(absl::StrCat("create of ", Name(id), ": ", Describe(status)));
  ++acknowledged_;
  intent.uid = created.metadata().uid();
  held_[id] = intent;
}

void Churn::ChangeRoot(const std::string& id) {
  Intent& intent = held_.at(id);
  const uint64_t root = options_.roots[random_() % options_.roots.size()];
  v1::UpdatePasidBindingRequest request;
  *request.mutable_pasid_binding() =
      testing::TestBinding(options_.vm, id, options_.device, intent.pasid, root);
  request.mutable_pasid_binding()->mutable_spec()->set_allow_translation_gap(true);
  request.set_request_id(NewRequestId());
  v1::PasidBinding updated;
  const grpc::Status status = Insist([&](grpc::ClientContext* context) {
    return bindings_.UpdatePasidBinding(context, request, &updated);
  });
  if (!status.ok()) return Lose(absl::StrCat("update of ", Name(id), ": ", Describe(status)));
  ++acknowledged_;
  intent.root = root;
}

void Churn::Delete(const std::string& id) {
  v1::DeletePasidBindingRequest request;
  request.set_name(Name(id));
  request.set_request_id(NewRequestId());
  v1::PasidBinding deleting;
  const grpc::Status status = Insist([&](grpc::ClientContext* context) {
    return bindings_.DeletePasidBinding(context, request, &deleting);
  });
  if (!status.ok()) return Lose(absl::StrCat("delete of ", Name(id), ": ", Describe(status)));
  ++acknowledged_;
  held_.erase(id);
  deleted_.push_back(id);
}

void Churn::Check(const std::string& id) {
  const Intent& intent = held_.at(id);
  v1::GetPasidBindingRequest request;
  request.set_name(Name(id));
  v1::PasidBinding found;
  const grpc::Status status = Insist([&](grpc::ClientContext* context) {
    return bindings_.GetPasidBinding(context, request, &found);
  });
  if (!status.ok()) return Lose(absl::StrCat("get of ", Name(id), ": ", Describe(status)));
  if (found.metadata().uid() == intent.uid && found.spec().page_table().root() == intent.root)
    return;
  Lose(absl::StrFormat("%s is %s with root 0x%x, was acknowledged as %s with root 0x%x", Name(id),
                       found.metadata().uid(), found.spec().page_table().root(), intent.uid,
                       intent.root));
}

}  // namespace nestor::chaos
