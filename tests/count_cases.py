#!/usr/bin/python3
"""count_cases.py - from a JUnit file of ctest to lines: passed failed skipped name

One line a program and one a skipped case. Criterion says at the end of a program how many cases it ran; a
program that ended badly counts as one failed case at least, whatever it said.
"""
import re
import sys
import xml.etree.ElementTree as xml

SYNTHESIS = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+)")
SKIPPED = re.compile(r"^\[SKIP\] (.*)$", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(program):
    """(passed, failed) of one program; no case of a program that failed gets lost."""
    ended_well = program.get("status") == "run"
    found = SYNTHESIS.search(program.findtext("system-out") or "")
    if not found:
        return int(ended_well), int(not ended_well)
    tested, passed, failed = map(int, found.groups())
    return passed, max(failed, tested - passed, int(not ended_well))


def main(preset, path):
    for program in xml.parse(path).getroot().iter("testcase"):
        name = f"{preset}/{program.get('name')}"
        passed, failed = count(program)
        print(passed, failed, 0, name)
        for case in SKIPPED.findall(COLOUR.sub("", program.findtext("system-out") or "")):
            print(0, 0, 1, f"{name}: {case}")


main(*sys.argv[1:])
