#!/usr/bin/env bash
# built_test.sh PROGRAM NAME: runs PROGRAM on the kernel that scripts/kernel-tests.sh builds;
# skipped (77) where it was not built. NAME as for stock_test.sh.
set -euo pipefail
here="$(dirname "$0")"
. "$here/environment.sh"
program="$1" name="$2"
kernel="$(built_kernel)"

need_tools
[ -d "$kernel" ] || skip "the kernel with iommufd is not there; scripts/kernel-tests.sh builds it"
run_on "$kernel" "built" "$program" "$name"
