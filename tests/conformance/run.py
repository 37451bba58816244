"""Print how each recorded case differs from what was recorded on AWS.

``PYTHONPATH=tests python tests/conformance/run.py [--only ID|AREA|FEATURE] [--show]``
"""

# ruff: noqa: T201 -- printing is what this script is for

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from support.recorded.cases import Folder
from support.recorded.external_cases import CONFORMANCE, find_cases


def main() -> int:
    """Run the cases that are asked for; return 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a case's id, part of its area or source, or a feature")
    parser.add_argument("--show", action="store_true", help="print definition, input and recorded events too")
    arguments = parser.parse_args()
    path = find_cases(CONFORMANCE)
    if path is None:
        print(f"no cases: set {CONFORMANCE} to their folder")
        return 2
    folder = Folder.open(path)
    only = arguments.only
    cases = [c for c in folder.cases if only in c["id"] + c["area"] + c["source"] or only in c["features"]]
    failed: Counter[str] = Counter()
    for case in cases:
        differences = folder.differences(case)
        if differences:
            failed[case["area"]] += 1
            print(f"\n{case['id']} {case['area']} {case['source']}")
        if arguments.show and (differences or only == case["id"]):
            print("  definition:", json.dumps(case["definition"]))
            print("  input:", json.dumps(case["input"]))
            print("  expected:", json.dumps(case["expected"]))
            for event in case["expected_events"] or []:
                print("   ", json.dumps(event))
        for difference in differences:
            print("  -", difference)
    print(f"\n{len(cases) - failed.total()} of {len(cases)} conform", dict(failed) or "")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
