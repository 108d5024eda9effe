#!/usr/bin/env bash
# Boots a kernel in qemu, by software emulation alone, and runs a test program on it.
set -euo pipefail

usage() {
  cat <<'END'
Usage: boot.sh KERNEL PROGRAM [--results FILE] [--timeout SECONDS] [ARGUMENT...]

  KERNEL     directory with vmlinuz and modules/, as stock_kernel.sh and built_kernel.sh leave it
  PROGRAM    static GoogleTest program; it gets the ARGUMENTs
  --results  where to put GoogleTest's report (JSON)
  --timeout  for the whole machine (default 120)

Prints the console. The machine has a VT-d and three edu devices of qemu, two of which share an
IOMMU group. Exit code: the program's; 1 when the machine did not come so far.
END
}

case "${1-}" in
  --help) usage; exit 0 ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
kernel="$1" program="$2" results="" limit=120
shift 2
while [ $# -gt 0 ]; do
  case "$1" in
    --results) results="$2"; shift 2 ;;
    --timeout) limit="$2"; shift 2 ;;
    *) break ;;
  esac
done

here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

root="$work/root"
mkdir -p "$root/bin"
cp "$here/init" "$root/init"
cp "$(command -v busybox)" "$root/bin/busybox"
strip -o "$root/nestor-kernel-test" "$program"
[ ! -d "$kernel/modules" ] || cp -r "$kernel/modules" "$root/"
echo "$@" >"$root/arguments"
(cd "$root" && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1) \
  >"$work/initramfs"

# Without cmpxchg16b: in qemu 7.2 it leaves wrong flags behind, and an interrupt right after it
# crashes the guest, the sooner the busier the host is. no_timer_check: a busy host also lets the
# kernel's check of the emulated timer fail.
qemu=(qemu-system-x86_64 -machine q35,kernel-irqchip=split -accel tcg -cpu qemu64,-cx16 -m 512
  -nodefaults -display none -no-reboot
  -device intel-iommu,intremap=on,caching-mode=on,x-scalable-mode=on,aw-bits=48
  -device edu,addr=4.0 -device edu,addr=5.0,multifunction=on -device edu,addr=5.1
  -kernel "$kernel/vmlinuz" -initrd "$work/initramfs"
  -append "console=ttyS0 quiet panic=-1 no_timer_check intel_iommu=on,sm_on"
  -serial "file:$work/console" -serial "file:$work/results")
code=0
timeout --kill-after=5 "$limit" "${qemu[@]}" </dev/null >"$work/qemu" 2>&1 || code=$?

# qemu tells of each DMA that its VT-d stops, which the tests make on purpose.
grep -v -e 'vtd_io' -e 'New fault is not recorded' "$work/qemu" || true
[ ! -f "$work/console" ] || tr -d '\r' <"$work/console"
[ "$code" -ne 124 ] || echo "boot: the machine did not end within $limit seconds"
exit_code="$(tr -d '\r' <"$work/console" | sed -n 's/^nestor-kernel-test: exit code //p')"
[ -z "$exit_code" ] || [ -z "$results" ] || cp "$work/results" "$results"
exit "${exit_code:-1}"
