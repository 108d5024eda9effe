// Test only: nestor-simkernel's server on a thread of the test.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "agent/kernel/sim_kernel.h"
#include "agent/simkernel/remote_syscalls.h"
#include "agent/simkernel/simkernel_server.h"

namespace nestor::kernel {

// Serves `kernel` at a socket in a fresh directory while it lives.
class TestSimkernel {
 public:
  explicit TestSimkernel(SimKernel& kernel)
      : directory_(MakeDirectory()), server_(*SimkernelServer::Listen(kernel, path())) {
    thread_ = std::thread([this] { server_->Run(); });
  }
  ~TestSimkernel() {
    server_->Stop();
    thread_.join();
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  TestSimkernel(const TestSimkernel&) = delete;
  TestSimkernel& operator=(const TestSimkernel&) = delete;

  std::string path() const { return directory_ + "/sim.sock"; }
  std::unique_ptr<RemoteSyscalls> Connect() const { return *RemoteSyscalls::Connect(path()); }
  // Returns once all that was closed so far is closed in the kernel too.
  void Settle() const { static_cast<void>(Connect()->Status()); }

 private:
  static std::string MakeDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "nestor-simkernel-XXXXXX";
    return mkdtemp(pattern.data());
  }

  const std::string directory_;
  std::unique_ptr<SimkernelServer> server_;
  std::thread thread_;
};

}  // namespace nestor::kernel
