#include "server/service/diagnostics.h"

#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <string>
#include <vector>

namespace nestor::server {
namespace {

// The names by which gRPC's plugins call themselves.
constexpr char kReflection[] = "proto_server_reflection";
constexpr char kChannelz[] = "channelz_service";

class DiagnosticsOption final : public grpc::ServerBuilderOption {
 public:
  explicit DiagnosticsOption(const Diagnostics& wanted) : wanted_(wanted) {}

  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}

  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [this](const auto& plugin) { return !IsWanted(plugin->name()); });
  }

 private:
  bool IsWanted(const std::string& name) const {
    return (wanted_.reflection && name == kReflection) || (wanted_.channelz && name == kChannelz);
  }

  const Diagnostics wanted_;
};

}  // namespace

std::unique_ptr<grpc::ServerBuilderOption> MakeDiagnosticsOption(const Diagnostics& wanted) {
  // Each does its work once in a process.
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::channelz::experimental::InitChannelzService();
  return std::make_unique<DiagnosticsOption>(wanted);
}

}  // namespace nestor::server
