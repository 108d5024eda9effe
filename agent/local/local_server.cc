#include "agent/local/local_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>

#include <chrono>

#include "absl/strings/str_cat.h"

namespace nestor::agent {

absl::StatusOr<std::unique_ptr<LocalServer>> LocalServer::Start(const std::string& path,
                                                                LocalService& service) {
  grpc::ServerBuilder builder;
  int port = -1;
  builder.AddListeningPort(absl::StrCat("unix:", path), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  // A file that appears with a wider mode first could be opened in between.
  const mode_t previous = umask(0177);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  umask(previous);
  // Unix sockets report port 1.
  if (server == nullptr || port <= 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot listen at ", path,
        ": the directory must be writable and the path at most 103 bytes; choose another "
        "--run-dir"));
  }
  return std::unique_ptr<LocalServer>(new LocalServer(std::move(server)));
}

LocalServer::~LocalServer() { Stop(); }

void LocalServer::Stop() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

}  // namespace nestor::agent
