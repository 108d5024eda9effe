#include "server/core/decision.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"

namespace nestor::server {
namespace {

template <typename Resource>
void Stamp(int64_t revision, Resource* resource) {
  if (resource->metadata().revision() == 0) resource->mutable_metadata()->set_revision(revision);
}

// Whether `message` is a Resource; if so it is stamped.
template <typename Resource>
bool StampIf(int64_t revision, google::protobuf::Message* message) {
  auto* resource = dynamic_cast<Resource*>(message);
  if (resource != nullptr) Stamp(revision, resource);
  return resource != nullptr;
}

template <typename Resources>
void StampAll(int64_t revision, Resources* resources) {
  for (auto& resource : *resources) Stamp(revision, &resource);
}

}  // namespace

void StampRevision(int64_t revision, google::protobuf::Message* reply) {
  if (StampIf<v1::PasidBinding>(revision, reply) || StampIf<v1::VirtualMachine>(revision, reply) ||
      StampIf<v1::Host>(revision, reply)) {
    return;
  }
  if (auto* created = dynamic_cast<v1::BatchCreatePasidBindingsResponse*>(reply)) {
    StampAll(revision, created->mutable_pasid_bindings());
  } else if (auto* deleted = dynamic_cast<v1::BatchDeletePasidBindingsResponse*>(reply)) {
    StampAll(revision, deleted->mutable_pasid_bindings());
  } else if (auto* applied = dynamic_cast<v1::ApplyVirtualMachineResponse*>(reply)) {
    Stamp(revision, applied->mutable_virtual_machine());
    StampAll(revision, applied->mutable_pasid_bindings());
    if (applied->revision() == 0) applied->set_revision(revision);
  }
}

uint64_t Fingerprint(absl::string_view bytes) {
  // FNV-1a, 64 bits: offset basis and prime of its specification.
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

uint64_t Fingerprint(const google::protobuf::Message& message) {
  std::string bytes = message.GetDescriptor()->full_name();
  bytes.reserve(bytes.size() + message.ByteSizeLong());
  {
    google::protobuf::io::StringOutputStream stream(&bytes);  // appends
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return Fingerprint(bytes);
}

}  // namespace nestor::server
