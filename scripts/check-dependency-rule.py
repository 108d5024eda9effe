#!/usr/bin/env python3
"""Checks that folders include only what the dependency rule allows.

The rule is the table below; docs/architecture.md shows it as a picture. Prints one line
for each broken rule, `file:line: what is wrong`, and exits 1 if there is any.

  scripts/check-dependency-rule.py              check the tree
  scripts/check-dependency-rule.py --self-test  check this script on made-up bad examples
"""

import pathlib
import re
import sys
import tempfile

# What the product code of a folder may include besides itself: whole folders, or single
# headers where only a port or plain values may be seen. main.cc joins the parts of its
# program and may include all of them.
ALLOWED = {
    "api/support": [],
    "server/core": ["api/support", "server/store/store.h"],
    "server/store": ["api/support"],
    "server/reconcile": ["api/support", "server/core", "server/store/store.h"],
    "server/service": ["api/support", "server/core", "server/reconcile"],
    "server/metrics.h": ["api/support", "server/core", "server/service"],
    "server/metrics.cc": ["api/support", "server"],
    "server/main.cc": ["api/support", "server"],
    "agent/core": [],
    "agent/kernel": ["api/support"],
    "agent/simkernel": ["api/support", "agent/kernel"],
    "agent/vfio": ["api/support", "agent/core", "agent/kernel/syscalls.h",
                   "agent/kernel/unique_fd.h", "agent/kernel/uapi"],
    "agent/devices": ["api/support", "agent/core", "agent/kernel/syscalls.h",
                      "agent/kernel/device_events.h", "agent/vfio"],
    "agent/shim": ["api/support", "agent/core", "agent/kernel/syscalls.h",
                   "agent/kernel/unique_fd.h", "agent/vfio/iommu_backend.h",
                   "agent/vfio/binding_validation.h"],
    "agent/shim/main.cc": ["agent/shim"],
    "agent/shim/shim_main.cc": ["api/support", "agent"],
    "agent/vmm": ["api/support", "agent/core", "agent/shim/shim.h",
                  "agent/shim/vmm_endpoints.h"],
    "agent/reconcile": ["api/support", "agent/core", "agent/shim/failure.h",
                        "agent/shim/shim.h", "agent/shim/vmm_endpoints.h",
                        "agent/vfio/iommu_backend.h", "agent/vfio/pci_inventory.h"],
    "agent/check": ["api/support", "agent/core", "agent/kernel/syscalls.h",
                    "agent/kernel/unique_fd.h", "agent/kernel/uapi",
                    "agent/reconcile/inventory_message.h", "agent/vfio"],
    "agent/local": ["api/support", "agent/core", "agent/check",
                    "agent/kernel/dma_engine_registers.h", "agent/kernel/tracing_syscalls.h",
                    "agent/reconcile/host_reconciler.h", "agent/shim/failure.h",
                    "agent/shim/shim.h",
                    "agent/vfio/iommu_backend.h"],
    "agent/metrics.h": ["api/support", "agent/core", "agent/shim", "agent/vfio"],
    "agent/metrics.cc": ["api/support", "agent"],
    "agent/agent_config.h": ["api/support", "agent/shim", "agent/vfio/backend_choice.h"],
    "agent/agent_kernel.h": ["agent/kernel"],
    "agent/agent_kernel.cc": ["api/support", "agent/agent_kernel.h", "agent/kernel",
                              "agent/simkernel"],
    "agent/running_agent.h": ["api/support", "agent/agent_config.h"],
    "agent/running_agent.cc": ["api/support", "agent"],
    "agent/main.cc": ["api/support", "agent"],
    "cli": ["api/support"],
    "tests": ["api/support", "agent", "server", "cli"],
}

# Programs that meet only in the API; tests/ alone sees more than one of them.
PROGRAMS = ("server", "agent", "cli")

# Where the parts of a program are joined.
JOINS = re.compile(r"main\.cc$|^agent/(agent_kernel\.(h|cc)|running_agent\.cc)$")

# One way of doing what a port promises: known to JOINS, its own folder and tests only.
ADAPTER = re.compile(r"^(rocksdb|type1|linux|sim|remote|inline|process)_")

# The simulated kernel's own program is no client of the port that hides it.
SIMKERNEL = ("agent/simkernel", re.compile(r"^agent/kernel/(sim|linux)_"))

# Helpers of tests. Like *_test.cc they may include what they like of their own program.
TEST_FILE = re.compile(r"_test\.cc$|^(test|fake|faulty|fault_injecting|recording)_|"
                       r"^testing\.|_(conformance|fixture)\.h$")

# Decisions are functions of (state, event, now): none of these may be reached from core/.
CORE = ("server/core", "agent/core")
IMPURE = re.compile(r"^(grpc|sys/|linux/|rocksdb/|spdlog/|fcntl\.h|unistd\.h|time\.h|ctime|"
                    r"thread|mutex|shared_mutex|condition_variable|future|atomic|chrono|"
                    r"absl/time/clock\.h|absl/synchronization/|"
                    r"api/support/(clock|event_loop|task_queue|grpc_\w+)\.h)")

# Device work reaches Linux only through agent/kernel/syscalls.h.
SYSTEM_CALLS = re.compile(r"^(sys/ioctl\.h|linux/(vfio|iommu|iommufd)\.h)$")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def includes(path):
    """(line number, delimiter, header) for each #include of a file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def covers(entry, name):
    return name == entry or name.startswith(entry + "/")


def folder_of(name):
    """The entry of ALLOWED that a file falls under, or None."""
    return max((key for key in ALLOWED if covers(key, name)), key=len, default=None)


def is_test(name):
    return name.startswith("tests/") or bool(TEST_FILE.search(name.rsplit("/", 1)[-1]))


def impurity(root, header, seen):
    """The chain of project headers from `header` to one that core may not reach, or None."""
    if IMPURE.match(header):
        return [header]
    path = root / header
    if header in seen or not path.is_file():
        return None
    seen.add(header)
    for _, _, inner in includes(path):
        chain = impurity(root, inner, seen)
        if chain:
            return [header] + chain
    return None


def product_rules(root, name, header):
    """What is wrong with product code `name` including `header`."""
    folder = folder_of(name)
    target = folder_of(header)
    if folder in CORE:
        chain = impurity(root, header, set())
        if chain:
            yield f"{folder} is pure, but reaches {' -> '.join(chain)}"
    if target is None:
        return
    if is_test(header):
        yield f"product code includes the test helper {header}"
    elif not any(covers(entry, header) for entry in [folder, *ALLOWED[folder]]):
        yield f"{folder} may not include {header}"
    elif ADAPTER.match(header.rsplit("/", 1)[-1]) and not JOINS.search(name) \
            and target != folder and not (folder == SIMKERNEL[0] and SIMKERNEL[1].match(header)):
        yield f"adapter {header} is for main.cc, its own folder and tests only"


def broken_rules(root, name, delimiter, header):
    if delimiter == '"' and "/" not in header:
        yield f'"{header}" is not relative to the root of the repository'
    if SYSTEM_CALLS.match(header) and not name.startswith(("agent/kernel/", "tests/")):
        yield f"<{header}>: device work goes through agent/kernel/syscalls.h"
    program, other = name.split("/")[0], header.split("/")[0]
    if program in PROGRAMS and other in PROGRAMS and program != other:
        yield f"{program} may not include {header}: programs meet only in the API"
    elif not is_test(name):
        yield from product_rules(root, name, header)


def check(root):
    """One text for each rule broken under `root`."""
    found = []
    for top in sorted({key.split("/")[0] for key in ALLOWED}):
        for path in sorted((root / top).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in (".h", ".cc", ".c") or not path.is_file():
                continue
            if folder_of(name) is None:
                found.append(f"{name}:1: no folder of the dependency rule holds this file")
                continue
            found += [f"{name}:{number}: {text}" for number, delimiter, header in includes(path)
                      for text in broken_rules(root, name, delimiter, header)]
    return found


def is_acyclic():
    """Whether no folder of the table can come back to itself."""
    edges = {key: {folder_of(entry) for entry in entries} - {key, None}
             for key, entries in ALLOWED.items()}
    while edges:
        leaves = {key for key, targets in edges.items() if not targets & edges.keys()}
        if not leaves:
            return False
        edges = {key: targets for key, targets in edges.items() if key not in leaves}
    return True


# (file, its text, part of the complaint it must cause; None: it is good).
EXAMPLES = [
    ("server/core/a.h", "#include <mutex>", "server/core is pure, but reaches mutex"),
    ("server/core/b.cc", '#include "api/support/locked.h"', "api/support/locked.h -> mutex"),
    ("api/support/locked.h", "#include <mutex>", None),
    ("agent/core/c.cc", "#include <sys/mman.h>", "agent/core is pure"),
    ("server/service/d.cc", '#include "agent/core/plan.h"', "programs meet only in the API"),
    ("server/service/d_test.cc", '#include "agent/core/plan.h"', "programs meet only in the API"),
    ("server/store/e.cc", '#include "server/core/view.h"', "server/store may not include"),
    ("server/reconcile/f.cc", '#include "server/store/database.h"', "may not include"),
    ("server/main.cc", '#include "server/store/rocksdb_store.h"', None),
    ("server/store/g.cc", '#include "server/store/rocksdb_store.h"', None),
    ("agent/main.cc", '#include "agent/vfio/test_machine.h"', "test helper"),
    ("agent/shim/h.cc", '#include "agent/vfio/type1_backend.h"', "may not include"),
    ("agent/shim/h_test.cc", '#include "agent/vfio/type1_backend.h"', None),
    ("agent/vfio/i.cc", "#include <sys/ioctl.h>", "agent/kernel/syscalls.h"),
    ("agent/simkernel/o.cc", '#include "agent/kernel/sim_kernel.h"', None),
    ("agent/simkernel/p.cc", '#include "agent/vfio/type1_backend.h"', "may not include"),
    ("agent/shim/q.cc", '#include "agent/simkernel/remote_syscalls.h"', "may not include"),
    ("cli/j.cc", '#include "table.h"', "not relative to the root"),
    ("cli/commands/k.cc", '#include "cli/table.h"', None),
    ("server/elsewhere/l.cc", "#include <string>", "no folder of the dependency rule"),
    ("tests/component/m.cc", '#include "server/store/rocksdb_store.h"', None),
]


def self_test():
    assert is_acyclic(), "the table has a cycle"
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, text, _ in EXAMPLES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"// A comment.\n{text}\n")
        found = check(root)
    for name, text, complaint in EXAMPLES:
        about = [line for line in found if line.startswith(name + ":")]
        good = not about if complaint is None else len(about) == 1 and complaint in about[0]
        assert good, f"{name}: {text}: wanted {complaint!r}, found {about}"
    print(f"self-test: {len(EXAMPLES)} examples as they should be")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    if arguments:
        print(__doc__)
        return 0 if arguments == ["--help"] else 2
    found = check(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(found) if found else "dependency rule: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
