// Preloaded into a program, makes its disk full for as long as the file that
// NESTOR_TEST_FULL_DISK names exists: what it writes to files fails with ENOSPC.

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

bool IsFull(int fd) {
  static const char* const marker = getenv("NESTOR_TEST_FULL_DISK");
  if (marker == nullptr || access(marker, F_OK) != 0) return false;
  struct stat file {};
  return fstat(fd, &file) == 0 && S_ISREG(file.st_mode);
}

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto next = Next<ssize_t (*)(int, const void*, size_t)>("write");
  if (!IsFull(fd)) return next(fd, bytes, size);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  static const auto next = Next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  if (!IsFull(fd)) return next(fd, bytes, size, offset);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  return pwrite(fd, bytes, size, offset);
}
}
