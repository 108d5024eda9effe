#!/usr/bin/env bash
# stock_test.sh SUITE PROGRAM NAME [--cached]: runs PROGRAM on the kernel of a Debian suite,
# which is downloaded the first time, with --cached not even then. Skipped (77) where it cannot
# be had. NAME is the test's, for GoogleTest's report in the directory of GTEST_OUTPUT.
set -euo pipefail
here="$(dirname "$0")"
. "$here/environment.sh"
suite="$1" program="$2" name="$3" only_cached="${4-}"
kernel="$kernel_cache/stock-$suite"

need_tools apt-get apt-cache dpkg-deb xz
mkdir -p "$kernel_cache"
exec 9>"$kernel.lock"
flock 9
if [ ! -d "$kernel" ]; then
  [ -z "$only_cached" ] ||
    skip "$suite's kernel is not there; scripts/kernel-tests.sh downloads it"
  log="$(mktemp)"
  timeout 240 "$here/stock_kernel.sh" "$suite" "$kernel" >"$log" 2>&1 || {
    tail -n 5 "$log"
    rm "$log"
    skip "could not download $suite's kernel"
  }
  rm "$log"
fi
flock -u 9
run_on "$kernel" "Debian $suite" "$program" "$name"
