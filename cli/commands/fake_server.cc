#include "cli/commands/fake_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"

namespace nestor::cli {
namespace {

template <typename Resource>
grpc::Status Find(const std::map<std::string, Resource>& stored, const std::string& name,
                  Resource* response) {
  auto found = stored.find(name);
  if (found == stored.end()) return ToGrpcStatus(errors::NotFound(name));
  *response = found->second;
  return grpc::Status::OK;
}

}  // namespace

v1::PasidBinding Binding(int i, v1::PasidBindingStatus::State state) {
  v1::PasidBinding binding;
  binding.set_name(absl::StrCat(kMachine, "/pasidBindings/sva-", i));
  binding.mutable_metadata()->set_generation(1);
  binding.mutable_metadata()->set_revision(6);
  binding.mutable_status()->set_state(state);
  binding.mutable_status()->set_observed_generation(1);
  return binding;
}

v1::WatchResponse Put(const v1::PasidBinding& binding) {
  v1::WatchResponse event;
  event.set_type(v1::WatchResponse::TYPE_PUT);
  *event.mutable_pasid_binding() = binding;
  return event;
}

grpc::Status FakeHosts::ListHosts(grpc::ServerContext*, const v1::ListHostsRequest* request,
                                  v1::ListHostsResponse* response) {
  filter = request->filter();
  const bool first = request->page_token().empty();
  response->add_hosts()->set_name(first ? "hosts/host-a" : "hosts/host-b");
  if (first) response->set_next_page_token("more");
  return grpc::Status::OK;
}

grpc::Status FakeHosts::GetHost(grpc::ServerContext*, const v1::GetHostRequest* request,
                                v1::Host* response) {
  if (answers.empty()) return ToGrpcStatus(errors::NotFound(request->name()));
  *response = answers.front();
  answers.pop_front();
  return grpc::Status::OK;
}

grpc::Status FakeHosts::CreateHost(grpc::ServerContext*, const v1::CreateHostRequest* request,
                                   v1::Host* response) {
  *response = request->host();
  response->mutable_metadata()->set_revision(5);
  return grpc::Status::OK;
}

grpc::Status FakeHostAdmin::FenceHost(grpc::ServerContext*, const v1::FenceHostRequest* request,
                                      v1::Host* host) {
  fenced.push_back(*request);
  *host = response;
  host->set_name(request->name());
  return ToGrpcStatus(error);
}

grpc::Status FakeHostAdmin::DrainHost(grpc::ServerContext*, const v1::DrainHostRequest* request,
                                      v1::Host* host) {
  *host = response;
  host->set_name(request->name());
  return ToGrpcStatus(error);
}

grpc::Status FakeHostAdmin::UndrainHost(grpc::ServerContext*, const v1::UndrainHostRequest* request,
                                        v1::Host* host) {
  undrained.push_back(request->name());
  host->set_name(request->name());
  return ToGrpcStatus(error);
}

grpc::Status FakeMachines::GetVirtualMachine(grpc::ServerContext*,
                                             const v1::GetVirtualMachineRequest* request,
                                             v1::VirtualMachine* response) {
  return Find(stored, request->name(), response);
}

grpc::Status FakeMachines::ApplyVirtualMachine(grpc::ServerContext*,
                                               const v1::ApplyVirtualMachineRequest* request,
                                               v1::ApplyVirtualMachineResponse* response) {
  applied.push_back(*request);
  if (!apply_error.ok()) return ToGrpcStatus(apply_error);
  *response = apply_response;
  return grpc::Status::OK;
}

grpc::Status FakeBindings::GetPasidBinding(grpc::ServerContext*,
                                           const v1::GetPasidBindingRequest* request,
                                           v1::PasidBinding* response) {
  return Find(stored, request->name(), response);
}

grpc::Status FakeBindings::ListPasidBindings(grpc::ServerContext*,
                                             const v1::ListPasidBindingsRequest* request,
                                             v1::ListPasidBindingsResponse* response) {
  for (const auto& binding : stored) *response->add_pasid_bindings() = binding.second;
  if (generated > 0) GeneratePage(*request, response);
  return grpc::Status::OK;
}

void FakeBindings::GeneratePage(const v1::ListPasidBindingsRequest& request,
                                v1::ListPasidBindingsResponse* response) const {
  int first = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &first)) return;
  before_page(first);
  const int end = std::min(generated, first + request.page_size());
  for (int i = first; i < end; ++i) {
    v1::PasidBinding& binding = *response->add_pasid_bindings();
    binding = Binding(i, v1::PasidBindingStatus::STATE_PROGRAMMED);
    binding.mutable_spec()->set_pasid(static_cast<uint32_t>(i));
    (*binding.mutable_metadata()->mutable_labels())["padding"] = std::string(500, 'x');
  }
  if (end < generated) response->set_next_page_token(absl::StrCat(end));
}

grpc::Status FakeBindings::CreatePasidBinding(grpc::ServerContext*,
                                              const v1::CreatePasidBindingRequest* request,
                                              v1::PasidBinding* response) {
  created.push_back(*request);
  *response = request->pasid_binding();
  const v1::PasidBindingSpec& spec = response->spec();
  response->mutable_status()->set_effective_pasid(spec.has_any_of() ? spec.any_of().first()
                                                                    : spec.pasid());
  return grpc::Status::OK;
}

grpc::Status FakeBindings::UpdatePasidBinding(grpc::ServerContext*,
                                              const v1::UpdatePasidBindingRequest* request,
                                              v1::PasidBinding* response) {
  updated.push_back(*request);
  *response = request->pasid_binding();
  return grpc::Status::OK;
}

grpc::Status FakeBindings::DeletePasidBinding(grpc::ServerContext*,
                                              const v1::DeletePasidBindingRequest* request,
                                              v1::PasidBinding*) {
  deleted.push_back(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeBindings::ExplainPasidBinding(grpc::ServerContext*,
                                               const v1::ExplainPasidBindingRequest* request,
                                               v1::ExplainPasidBindingResponse* response) {
  response->mutable_pasid_binding()->set_name(request->name());
  response->set_first_unmet("PROGRAMMED");
  response->set_next_step("start the monitor");
  return grpc::Status::OK;
}

grpc::Status FakeBindings::GetPasidBindingTimeline(grpc::ServerContext*,
                                                   const v1::GetPasidBindingTimelineRequest*,
                                                   v1::GetPasidBindingTimelineResponse* response) {
  v1::TimelineEvent& event = *response->add_events();
  event.set_kind(v1::TimelineEvent::KIND_PERSISTED);
  event.set_message("generation 1 was stored");
  return grpc::Status::OK;
}

grpc::Status FakeBindings::InvalidateCache(grpc::ServerContext*,
                                           const v1::InvalidateCacheRequest* request,
                                           v1::InvalidateCacheResponse*) {
  invalidated.push_back(*request);
  return ToGrpcStatus(invalidate_error);
}

grpc::Status FakeWatch::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                              grpc::ServerWriter<v1::WatchResponse>* writer) {
  requests.push_back(*request);
  const Stream stream = streams.front();
  if (streams.size() > 1) streams.pop_front();
  for (const v1::WatchResponse& event : stream.events) writer->Write(event);
  if (stream.end.has_value()) return *stream.end;
  // A bookmark each so often, until the reader has gone.
  v1::WatchResponse bookmark;
  bookmark.set_type(v1::WatchResponse::TYPE_BOOKMARK);
  while (!context->IsCancelled() && writer->Write(bookmark)) absl::SleepFor(absl::Milliseconds(5));
  return grpc::Status::CANCELLED;
}

FakeServer::FakeServer() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
  builder.RegisterService(&hosts);
  builder.RegisterService(&host_admin);
  builder.RegisterService(&machines);
  builder.RegisterService(&bindings);
  builder.RegisterService(&watch);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) abort();
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

ExitCode FakeServerTest::Run(std::vector<std::string> arguments, const std::string& input) {
  arguments.insert(arguments.end(),
                   {"--server", fake_.address(), "--insecure", "--project", "demo"});
  in_.str(input);
  return RunCommandLine(arguments, {in_, out_, err_, false});
}

ExitCode FakeServerTest::RunOnTerminal(std::vector<std::string> arguments,
                                       const std::string& input) {
  arguments.insert(arguments.end(), {"--server", fake_.address(), "--insecure"});
  in_.str(input);
  return RunCommandLine(arguments, {in_, out_, err_, true, true});
}

}  // namespace nestor::cli
