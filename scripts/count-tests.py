#!/usr/bin/env python3
"""Prints `tests: N passed, M failed, K skipped` over the results of one ctest run.

  scripts/count-tests.py DIRECTORY

DIRECTORY holds ctest.xml (ctest --output-junit) and one NAME.json for each GoogleTest
program NAME. Counted are GoogleTest's single cases. A program that ended without leaving
its cases (it crashed, ran out of time, or is no GoogleTest program) counts as one test, which
says that it was skipped by ctest's SKIP_RETURN_CODE; so does a failure outside any case, such
as a leak found at exit. Exits 1 if any failed or
nothing ran.
"""

import collections
import json
import pathlib
import sys
import xml.etree.ElementTree


def case_outcomes(report):
    """passed, failed or skipped for each case of one GoogleTest report."""
    for suite in json.loads(report.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("failures"):
                yield "failed"
            else:
                yield "passed" if case["result"] == "COMPLETED" else "skipped"


def was_skipped(entry):
    reason = entry.find("skipped")
    said_so = reason is not None and reason.get("message", "").startswith("SKIP_RETURN_CODE")
    return said_so or entry.get("status") == "disabled"


def program_outcomes(directory, entry):
    """The outcomes that one ctest entry stands for."""
    passed = entry.get("status") == "run"
    report = directory / f"{entry.get('name')}.json"
    if not report.exists():
        return ["passed" if passed else "skipped" if was_skipped(entry) else "failed"]
    outcomes = list(case_outcomes(report))
    if not passed and "failed" not in outcomes:
        outcomes.append("failed")
    return outcomes


def main():
    directory = pathlib.Path(sys.argv[1])
    counts = collections.Counter()
    for entry in xml.etree.ElementTree.parse(directory / "ctest.xml").iter("testcase"):
        counts.update(program_outcomes(directory, entry))
    print("tests: {passed} passed, {failed} failed, {skipped} skipped".format(
        passed=counts["passed"], failed=counts["failed"], skipped=counts["skipped"]))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
