// The simulated kernel's ends of its clients' sockets.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "agent/kernel/sim_file.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// One end for each open simulated file and for each connection. Since the host's kernel counts
// who has the other end, a file whose end hung up has lost its last
// descriptor. Not
// thread-safe.
class EndTable {
 public:
  using Id = uint64_t;  // never given twice; from 1

  // Of one process, to keep one from using up what all need: the soft RLIMIT_NOFILE that Linux
  // gives by default.
  static constexpr int kMaxOfProcess = 1024;

  EndTable();
  EndTable(const EndTable&) = delete;
  EndTable& operator=(const EndTable&) = delete;

  // Readable when a packet came on an end, or it hung up; with its id in epoll's data.
  int calls() const { return calls_.get(); }
  // Readable when an end hung up.
  int hang_ups() const { return hang_ups_.get(); }

  // Takes over a connection that `process` made: 0, or -EMFILE: it has too many; -errno.
  int AddConnection(FileDescriptor socket, pid_t process);
  // Makes the descriptor of `file` that `process` gets. 0, or -EMFILE, or -errno.
  int AddFile(std::shared_ptr<SimFile> file, pid_t process, FileDescriptor* descriptor);
  void Remove(Id id);

  bool Has(Id id) const { return ends_.contains(id); }
  int SocketOf(Id id) const { return ends_.at(id).socket.get(); }
  // Null: a connection.
  std::shared_ptr<SimFile> FileOf(Id id) const { return ends_.at(id).file; }
  // The file that `descriptor`, any descriptor at all, is of; null: none.
  std::shared_ptr<SimFile> FindFile(const FileDescriptor& descriptor) const;
  // Any of them.
  std::optional<Id> First() const {
    return ends_.empty() ? std::nullopt : std::make_optional(ends_.begin()->first);
  }
  // An end that hung up and is still here.
  std::optional<Id> NextHangUp() const;

 private:
  struct End {
    FileDescriptor socket;
    std::shared_ptr<SimFile> file;
    pid_t process = 0;         // that it was made for
    uint64_t peer_cookie = 0;  // of the client's end, as the host's kernel names it; 0: unknown
  };
  int Add(End end);

  const FileDescriptor calls_;
  const FileDescriptor hang_ups_;
  std::map<Id, End> ends_;
  std::map<uint64_t, Id> by_cookie_;  // of files
  std::map<pid_t, int> counts_;       // by process; none is 0
  Id next_id_ = 1;
};

}  // namespace nestor::kernel
