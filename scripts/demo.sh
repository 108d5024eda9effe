#!/usr/bin/env bash
# The main job end to end on one machine, without hardware: a server with its embedded
# store, three hosts, each an agent and a simulated kernel, and a fleet of six virtual machines
# whose guests prove by DMA that their page tables are walked. Builds what it needs first.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'EOF'
Usage: scripts/demo.sh [--keep] [--preset NAME]

Runs Nestor's main job end to end on simulated kernels: apply examples/fleet.yaml, wait
until all bindings are PROGRAMMED, DMA through them, change a root, kill -9 the server,
explain a binding that cannot work, unbind, and print a summary. Exit code 0: all of it
happened as it should.

  --keep         leave server, agents and guests running, and say how to use them
  --preset NAME  build preset (default: release)
  --help         this text
EOF
}

keep=false
preset=release
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=true ;;
    --preset) preset="${2:?--preset needs a name}"; shift ;;
    --help) usage; exit 0 ;;
    *) echo "demo: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

scripts/install-packages.sh
scripts/build.sh "$preset"

bin="$PWD/build/$preset/bin"
fleet="$PWD/examples/fleet.yaml"
cannot_work="$PWD/examples/cannot-work.yaml"
dir="$(mktemp -d /tmp/nestor-demo-XXXXXX)"
api="unix:$dir/api.sock"
agents="unix:$dir/agents.sock"
export NESTOR_SERVER="$api" NESTOR_INSECURE=true NESTOR_PROJECT=demo
pids=()
started=$(date +%s%N)

step() { printf '\n== %s\n' "$*"; }
fail() {
  printf '\ndemo: FAILED: %s\n' "$*" >&2
  tail -n 5 "$dir"/*.log >&2 || true
  exit 1
}
finish() {
  local code=$?
  if $keep && [ "$code" -eq 0 ]; then return; fi
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ "$code" -ne 0 ] || rm -rf "$dir"
  [ "$code" -eq 0 ] || echo "demo: logs are in $dir" >&2
}
trap finish EXIT

ctl() { timeout 60 "$bin/nestorctl" "$@"; }
# stdin from /dev/null and own log; remembered for the end.
start() {
  local log="$1"; shift
  "$@" </dev/null >>"$dir/$log.log" 2>&1 &
  pids+=($!)
}

start_server() {
  start server "$bin/nestor-server" --data-dir "$dir/store" --listen "$api" \
    --agent-listen "$agents" --insecure
  server_pid=$!
  timeout 20 bash -c 'until "$0" get hosts >/dev/null 2>&1; do :; done' "$bin/nestorctl" ||
    fail "the server does not answer"
}

# Guests speak over a pair of FIFOs each: one command, one answer.
declare -A to_guest=() from_guest=()
start_guest() {
  local vm="$1" host="$2" ready; shift 2
  mkfifo "$dir/$vm.in" "$dir/$vm.out"
  "$bin/nestor-guest" --socket-dir "$dir/$host/vmm" --vm "projects/demo/virtualMachines/$vm" \
    --memory 64MiB "$@" <"$dir/$vm.in" >"$dir/$vm.out" 2>>"$dir/guest-$vm.log" &
  pids+=($!)
  exec {to}>"$dir/$vm.in" {from}<"$dir/$vm.out"
  to_guest[$vm]=$to
  from_guest[$vm]=$from
  read -r -t 20 ready <&"$from" || fail "the guest of $vm did not get its devices"
}
ask() {
  local vm="$1" answer; shift
  echo "$*" >&"${to_guest[$vm]}"
  read -r -t 20 answer <&"${from_guest[$vm]}" || answer="no answer"
  echo "$answer"
}
dmas=0
# expect VM ANSWER COMMAND...: the answer must begin so.
expect() {
  local vm="$1" wanted="$2" answer; shift 2
  answer="$(ask "$vm" "$@")"
  [[ "$answer" == "$wanted"* ]] || fail "$vm: '$*' answered '$answer', not '$wanted...'"
  dmas=$((dmas + 1))
}
milliseconds_since() { echo $((($(date +%s%N) - $1) / 1000000)); }
# Lines of: machine, binding, device, PASID, root.
list_bindings() {
  ctl get bindings -o json | jq -r '.[] | [(.name | split("/")[3]), (.name | split("/")[5]),
    .spec.device, .status.effectivePasid, .spec.pageTable.root] | @tsv'
}
# Each guest maps, for each of its roots, a page at this address that names the root.
address=0x7f0000000000
page_of() { printf 'page-of-root-0x%x' "$1"; }
expect_page() { # VM DEVICE PASID ROOT
  expect "$1" ok expect "$3" "$address" "$(page_of "$4")" "$2"
}

step "One server with an embedded store, three agents on simulated kernels"
start_server
for host in host-a host-b host-c; do
  start "$host-kernel" "$bin/nestor-simkernel" --listen "unix:$dir/$host.sim.sock" --devices 4
  timeout 20 bash -c 'until "$0" --status "$1" >/dev/null 2>&1; do :; done' \
    "$bin/nestor-simkernel" "unix:$dir/$host.sim.sock" || fail "$host has no simulated kernel"
  start "$host" "$bin/nestor-agent" --host "$host" --server "$agents" --run-dir "$dir/$host" \
    --kernel "sim:$dir/$host.sim.sock" --insecure
done

step "Apply examples/fleet.yaml: 3 hosts, 6 virtual machines, 60 bindings"
t0=$(date +%s%N)
ctl apply -f "$fleet" | tail -n 1
apply_ms=$(milliseconds_since "$t0")
echo "and once more:"
ctl apply -f "$fleet" | tail -n 1

step "The guests boot and hand over their memory; every binding becomes PROGRAMMED"
list_bindings >"$dir/bindings"
new_root=0x2f00000 # not in the fleet: for the root change below
while IFS=$'\t' read -r vm host devices; do
  arguments=()
  for device in ${devices//,/ }; do arguments+=(--device "$device"); done
  while read -r root; do
    arguments+=(--root "$(printf '0x%x' "$root"):$(page_of "$root")")
  done < <(awk -F'\t' -v vm="$vm" '$1 == vm {print $5}' "$dir/bindings" | sort -u; echo $new_root)
  start_guest "$vm" "$host" "${arguments[@]}"
done < <(ctl get vms -o json | jq -r '.[] | [(.name | split("/")[3]),
  (.spec.placement.host | split("/")[1]), (.spec.placement.devices | join(","))] | @tsv')
t0=$(date +%s%N)
ctl --timeout 40s apply -f "$fleet" --wait || fail "not every binding was programmed"
program_ms=$(milliseconds_since "$t0")
bindings=$(wc -l <"$dir/bindings")

step "DMA through every binding: GVA -> GPA -> HPA"
list_bindings >"$dir/bindings"
while IFS=$'\t' read -r vm name device pasid root; do
  expect_page "$vm" "$device" "$pasid" "$root"
done <"$dir/bindings"
echo "$dmas DMAs at guest address $address each read the page of their own root"

step "A root change: the same DMA, other bytes"
changing=$(ctl get bindings -o json |
  jq -r 'map(select(.spec.allowTranslationGap)) | .[0].name')
read -r vm name device pasid root < <(awk -F'\t' -v n="${changing##*/}" \
  -v vm="$(cut -d/ -f4 <<<"$changing")" '$1 == vm && $2 == n' "$dir/bindings")
expect_page "$vm" "$device" "$pasid" "$root"
t0=$(date +%s%N)
ctl get binding "$changing" -o json |
  jq --arg root "$new_root" '(if type == "array" then .[0] else . end) | .spec.pageTable.root = $root' |
  ctl apply -f - | tail -n 1
ctl wait "$changing" --for programmed >/dev/null 2>&1 || fail "the new root was not programmed"
change_ms=$(milliseconds_since "$t0")
expect_page "$vm" "$device" "$pasid" "$new_root"
echo "$changing: $(page_of "$root"), then $(page_of "$new_root")"

step "kill -9 of the server: DMA goes on, and nothing is lost"
before=$(ctl get bindings -o json | jq -S 'map({name, spec, uid: .metadata.uid})')
kill -9 "$server_pid"
wait "$server_pid" 2>/dev/null || true
expect_page "$vm" "$device" "$pasid" "$new_root"
start_server
after=$(ctl get bindings -o json | jq -S 'map({name, spec, uid: .metadata.uid})')
[ "$before" = "$after" ] || fail "the restarted server has other intent"
ctl --timeout 30s wait "$changing" --for programmed >/dev/null 2>&1 || fail "no agent came back"
expect_page "$vm" "$device" "$pasid" "$new_root"
echo "$bindings bindings before and after; a DMA while the server was dead read the right page"
ctl timeline "$changing"

step "A binding that cannot work, explained"
ctl apply -f "$cannot_work" | tail -n 1
broken=$(ctl get bindings -o json | jq -r 'map(select(.spec | has("rid"))) | .[0].name')
! ctl --timeout 10s wait "$broken" --for programmed >/dev/null 2>&1 ||
  fail "a binding that cannot work was programmed"
ctl explain "$broken"

step "Unbind: the next DMA faults"
ctl delete binding "$changing" --wait >/dev/null 2>&1 || fail "the binding did not go"
expect "$vm" fault dma-read "$pasid" "$address" 16 "$device"
echo "$changing is gone: $(ask "$vm" dma-read "$pasid" "$address" 16 "$device")"

step "Summary"
ctl get hosts
kernel_us=$(ctl get bindings -o json | jq -r '[.[].status.times.programDuration // empty |
  rtrimstr("s") | tonumber * 1e6 | round] | sort | "p50 \(.[length / 2 | floor]) us, worst \(.[-1]) us"')
cat <<EOF

bindings programmed                       $bindings
DMAs proved                               $dmas
apply of the whole fleet, durable         $apply_ms ms
all PROGRAMMED after the guests booted    $program_ms ms
root change, stored to PROGRAMMED         $change_ms ms
kernel calls of one bind                  $kernel_us
whole demo                                $(milliseconds_since "$started") ms
EOF

if $keep; then
  trap - EXIT
  cat <<EOF

Left running (processes ${pids[*]}). To use it:
  export NESTOR_SERVER=$api NESTOR_INSECURE=true NESTOR_PROJECT=demo
  $bin/nestorctl get bindings
  echo "dma-read $pasid $address 16 $device" >$dir/$vm.in; read -r answer <$dir/$vm.out
To end it:
  kill ${pids[*]}; rm -rf $dir
EOF
  disown -a
fi
