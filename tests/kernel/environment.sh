# Sourced by scripts of this folder: where kernels are kept, and what running them takes.

# Outside of the tree, so that clones and clean builds share it. One directory a kernel, with
# vmlinuz, version and, unless they are built in, modules/.
kernel_cache="${NESTOR_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nestor/kernels}"

# The kernel that built_kernel.sh makes of this folder's kernel.config; another configuration
# makes another kernel.
built_kernel() {
  local config
  config="$(sha256sum "$(dirname "${BASH_SOURCE[0]}")/kernel.config" | cut -c 1-12)"
  echo "$kernel_cache/built-$config"
}

# run_on KERNEL ORIGIN PROGRAM NAME: boots it; the report goes to NAME.json in the directory of
# GTEST_OUTPUT, if that is set. Does not return.
run_on() {
  local results="${GTEST_OUTPUT-}"
  results="${results#json:}"
  echo "kernel: $(cat "$1/version"), $2"
  exec "$(dirname "${BASH_SOURCE[0]}")/boot.sh" "$1" "$3" --results "${results:+$results$4.json}"
}

# skip WHY: ends a test that cannot run here, in the way that ctest knows.
skip() {
  echo "skipped: $*"
  exit 77
}

need_tools() {
  local tool busybox
  for tool in qemu-system-x86_64 cpio gzip strip flock "$@"; do
    command -v "$tool" >/dev/null ||
      skip "no $tool; scripts/install-packages.sh --ci brings what this needs"
  done
  busybox="$(command -v busybox)" || skip "no busybox; install busybox-static"
  # The guest has no shared libraries.
  ! ldd "$busybox" >/dev/null 2>&1 || skip "busybox needs libraries; install busybox-static"
}
