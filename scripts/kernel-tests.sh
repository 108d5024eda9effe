#!/usr/bin/env bash
# Runs the tests on real kernels, with the kernels that scripts/test.sh does without.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/kernel-tests.sh [--preset NAME] [--suite NAME] [--renew] [CTEST_OPTION...]

Runs the agent's code on Linux kernels in machines that qemu emulates (docs/kernel-tests.md):
Debian's own, and one built from Debian's sources with iommufd and its mock devices. The first run
downloads 40 MB for each of Debian's kernels and 170 MB of sources, and builds for 5 to 15 minutes;
the kernels then stay in ~/.cache/nestor/kernels, or NESTOR_KERNEL_CACHE.

  --preset NAME  release (default) or debug
  --suite NAME   the Debian suite of the newest kernel and of the sources (default:
                 trixie-backports)
  --renew        forget the kernels that are there
  CTEST_OPTION   handed to ctest, e.g. --verbose to see the consoles
  --help         this text
END
}

preset=release suite=trixie-backports renew=""
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --preset) preset="${2:?--preset needs a name}"; shift 2 ;;
    --suite) suite="${2:?--suite needs a name}"; shift 2 ;;
    --renew) renew=yes; shift ;;
    *) break ;;
  esac
done

. tests/kernel/environment.sh
newest="$kernel_cache/stock-newest"
built="$(built_kernel)"
[ -z "$renew" ] || rm -rf "$kernel_cache"/stock-* "$kernel_cache"/built-*

scripts/install-packages.sh --kernel
scripts/build.sh "$preset" nestor-kernel-test
if [ ! -d "$newest" ]; then
  echo "kernel-tests: downloading the newest kernel of $suite"
  tests/kernel/stock_kernel.sh "$suite" "$newest"
fi
if [ ! -d "$built" ]; then
  mkdir -p "$kernel_cache"
  echo "kernel-tests: building the newest kernel source of $suite; log: $built.log"
  tests/kernel/built_kernel.sh "$suite" "$built" >"$built.log" 2>&1 ||
    { tail -n 20 "$built.log"; echo "kernel-tests: the build failed" >&2; exit 1; }
fi
ctest --test-dir "build/$preset" --label-regex '^kernel$' --output-on-failure "$@"
