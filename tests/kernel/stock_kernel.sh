#!/usr/bin/env bash
# stock_kernel.sh SUITE DIRECTORY: the newest kernel of a Debian suite.
#
# Leaves in DIRECTORY: vmlinuz, modules/ (those of VFIO, not compressed), version. Downloads
# some 30 MB.
set -euo pipefail
suite="$1" directory="$2"
. "$(dirname "$0")/debian_packages.sh"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

debian_suite "$suite" "$work/apt"
# The kernels for virtual machines: the same VFIO with fewer other drivers. Newer releases
# split image and modules.
mapfile -t packages < <(apt-cache depends --recurse --important linux-image-cloud-amd64 |
  grep -E '^linux-(image|binary|modules)-[0-9]' | sort -u)
[ "${#packages[@]}" -gt 0 ] || { echo "$suite has no linux-image-cloud-amd64" >&2; exit 1; }
debian_unpack "$work/root" "${packages[@]}"

mkdir "$work/kernel" "$work/kernel/modules"
find "$work/root" -name 'vmlinuz*' -type f -exec cp {} "$work/kernel/vmlinuz" \;
[ -f "$work/kernel/vmlinuz" ] || { echo "no kernel in ${packages[*]}" >&2; exit 1; }
find "$work/root" \( -path '*/drivers/vfio/*.ko*' -o -name 'irqbypass.ko*' \
  -o -path '*/drivers/iommu/iommufd/*.ko*' \) -exec cp {} "$work/kernel/modules/" \;
find "$work/kernel/modules" -name '*.xz' -exec xz --decompress {} +
find "$work/root" -path '*/modules/*/kernel' -printf '%h\n' | head -n 1 | xargs basename \
  >"$work/kernel/version"
mkdir -p "$(dirname "$directory")"
rm -rf "$directory"
mv "$work/kernel" "$directory"
