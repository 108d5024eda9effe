#!/usr/bin/env bash
# Installs what is missing, builds, runs every test, and ends with one line of counts.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/test.sh [--preset NAME] [CTEST_OPTION...]

Runs all tests and ends with `tests: N passed, M failed, K skipped`, counted in single
test cases. Exit code 0: none failed. A second run installs and builds only what changed.

  --preset NAME  release (default), debug, asan (address and undefined behaviour) or
                 tsan (threads; without what links gRPC)
  CTEST_OPTION   handed to ctest, e.g. -R server_store to run one program's tests
  --help         this text
END
}

preset=release
case "${1-}" in
  --help) usage; exit 0 ;;
  --preset) preset="${2:?--preset needs a name}"; shift 2 ;;
esac

scripts/install-packages.sh
scripts/build.sh "$preset"

results="$PWD/build/$preset/test-results"
rm -rf "$results"
mkdir -p "$results"

# Read only by sanitized programs.
export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
export TSAN_OPTIONS="suppressions=$PWD/scripts/tsan.supp${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

code=0
GTEST_OUTPUT="json:$results/" ctest --test-dir "build/$preset" --parallel "$(nproc)" \
  --output-on-failure --output-junit "$results/ctest.xml" "$@" </dev/null || code=$?
scripts/count-tests.py "$results" || code=1
exit "$code"
