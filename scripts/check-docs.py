#!/usr/bin/env python3
"""Checks that the documentation keeps up with the code.

docs/errors.md and the code name the same reasons. A reason in the code is a string literal
in UPPER_SNAKE_CASE in the files below, one of a single word only where it is documented. A
documented reason begins a row of a table.

Each source, script or page that a page names exists.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("api/support", "agent/core", "agent/vfio", "agent/shim", "agent/reconcile",
           "agent/check", "agent/devices", "server/core", "server/reconcile")
# Words in the same letters that are no reasons: kernel calls and options, page-table formats, and the
# reason of a condition that holds.
NOT_A_REASON = re.compile(r"VFIO_|IOMMU_|CONFIG_|VTD_S1$|ARM_SMMUV3$|AMD_V2$|VMM_CONNECTED$|"
                          r"NOTIFY_SOCKET$")


def product_files():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.cc")):
            if not path.name.endswith("_test.cc") and not path.name.startswith(("test_", "fake_")):
                yield path


def code_reasons():
    """Reason -> where it is named first."""
    found = {}
    for path in product_files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)"', line):
                if not NOT_A_REASON.match(word):
                    found.setdefault(word, f"{path.relative_to(ROOT)}:{number}")
    return found


def wrong_reasons():
    documented = re.findall(r"^\| `([A-Z0-9_]+)` \|", (ROOT / "docs/errors.md").read_text(), re.M)
    known = code_reasons()
    wrong = [f"docs/errors.md: {reason} is documented twice"
             for reason in sorted(set(documented)) if documented.count(reason) > 1]
    wrong += [f"docs/errors.md: nothing in the code gives the reason {reason}"
              for reason in sorted(set(documented) - set(known))]
    wrong += [f"{known[reason]}: docs/errors.md does not explain {reason}"
              for reason in sorted(set(known) - set(documented)) if "_" in reason]
    return wrong


def wrong_files():
    folders = ("api", "server", "agent", "cli", "tests", "scripts", "examples")
    names = {path.name for folder in folders for path in (ROOT / folder).rglob("*")}
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = page.read_text()
        for name in re.findall(r"`([\w./-]+\.(?:cc|h|json|mjs|proto|py|sh|yaml))`|\]\(([\w./-]+)\)", text):
            name = "".join(name)
            exists = name in names or (ROOT / name).exists() or (page.parent / name).exists()
            if not exists:
                yield f"{page.relative_to(ROOT)}: there is no {name}"


def main():
    wrong = [*wrong_reasons(), *wrong_files()]
    print("\n".join(wrong) if wrong else "docs: they name what the code has")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
