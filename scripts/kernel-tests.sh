#!/usr/bin/env bash
# Runs the tests on real kernels, and gets the kernels that scripts/test.sh does without.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/kernel-tests.sh [--preset NAME] [CTEST_OPTION...]

Runs the agent's code on Linux kernels in machines that qemu emulates (docs/kernel-tests.md). The
first run downloads some 40 MB a kernel, into ~/.cache/nestor/kernels or NESTOR_KERNEL_CACHE.

  --preset NAME  release (default) or debug
  CTEST_OPTION   handed to ctest, e.g. --verbose to see the consoles
  --help         this text
END
}

preset=release
case "${1-}" in
  -h | --help) usage; exit 0 ;;
  --preset) preset="${2:?--preset needs a name}"; shift 2 ;;
esac

. tests/kernel/environment.sh
scripts/install-packages.sh --ci
scripts/build.sh "$preset" nestor-kernel-test
newest="$kernel_cache/stock-trixie-backports"
if [ ! -d "$newest" ]; then
  echo "kernel-tests: downloading the newest kernel of trixie-backports"
  tests/kernel/stock_kernel.sh trixie-backports "$newest"
fi
ctest --test-dir "build/$preset" --label-regex '^kernel$' --output-on-failure "$@"
