#include "cli/commands/resource_client.h"

#include "api/support/status_macros.h"

namespace nestor::cli {
namespace {

using google::protobuf::Message;
using Take = std::function<void(const Message&)>;
using EndPage = std::function<bool()>;

constexpr int kPageSize = 500;

template <typename Request, typename Stub, typename Resource>
absl::StatusOr<std::unique_ptr<Message>> GetOne(Connection& connection, Stub& stub,
                                                grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Resource*),
                                                const std::string& name) {
  Request request;
  request.set_name(name);
  ASSIGN_OR_RETURN(Resource resource, connection.Call(stub, method, request));
  return std::make_unique<Resource>(std::move(resource));
}

template <typename Request, typename Stub, typename Response, typename Items>
absl::Status ListPages(Connection& connection, Stub& stub,
                       grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                    Response*),
                       Request request, Items items, const Take& take, const EndPage& end_page) {
  request.set_page_size(kPageSize);
  do {
    ASSIGN_OR_RETURN(const Response page, connection.Call(stub, method, request));
    for (const auto& resource : items(page)) take(resource);
    if (!end_page()) break;
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

template <typename Request>
Request Query(const ListQuery& query) {
  Request request;
  request.set_parent(query.parent);
  request.set_filter(query.filter);
  return request;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Message>> GetResource(Connection& connection, Kind kind,
                                                     const std::string& name) {
  switch (kind) {
    case Kind::kHost:
      return GetOne(connection, connection.hosts(), &v1::HostService::Stub::GetHost, name);
    case Kind::kDevice:
      return GetOne(connection, connection.hosts(), &v1::HostService::Stub::GetDevice, name);
    case Kind::kVirtualMachine:
      return GetOne(connection, connection.virtual_machines(),
                    &v1::VirtualMachineService::Stub::GetVirtualMachine, name);
    case Kind::kPasidBinding:
      return GetOne(connection, connection.bindings(),
                    &v1::PasidBindingService::Stub::GetPasidBinding, name);
  }
  return absl::InternalError("unknown kind");
}

absl::Status ListResources(Connection& connection, const ListQuery& query, const Take& take,
                           const EndPage& end_page) {
  switch (query.kind) {
    case Kind::kHost: {
      v1::ListHostsRequest request;
      request.set_filter(query.filter);
      return ListPages(
          connection, connection.hosts(), &v1::HostService::Stub::ListHosts, request,
          [](const auto& page) -> const auto& { return page.hosts(); }, take, end_page);
    }
    case Kind::kDevice:
      return ListPages(
          connection, connection.hosts(), &v1::HostService::Stub::ListDevices,
          Query<v1::ListDevicesRequest>(query),
          [](const auto& page) -> const auto& { return page.devices(); }, take, end_page);
    case Kind::kVirtualMachine:
      return ListPages(
          connection, connection.virtual_machines(),
          &v1::VirtualMachineService::Stub::ListVirtualMachines,
          Query<v1::ListVirtualMachinesRequest>(query),
          [](const auto& page) -> const auto& { return page.virtual_machines(); }, take, end_page);
    case Kind::kPasidBinding:
      return ListPages(
          connection, connection.bindings(), &v1::PasidBindingService::Stub::ListPasidBindings,
          Query<v1::ListPasidBindingsRequest>(query),
          [](const auto& page) -> const auto& { return page.pasid_bindings(); }, take, end_page);
  }
  return absl::InternalError("unknown kind");
}

}  // namespace nestor::cli
