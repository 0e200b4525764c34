#!/usr/bin/python3
"""mutants.py - seeded bugs: each must make the test fail that is there to find it

    mutants.py [--only TEXT] [--list] [--markdown] [--keep] [--timeout-factor N]

table.py has the bugs. The sources are copied to a folder of their own, all tests involved are built there and must pass
as they are; then one bug at a time is put in, the test is built and run, and the bug is taken out again. A bug is found when
the test fails or hangs. Exit status 1: a bug survived, or its text no longer stands in the source.
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from table import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD_S = 900
LEFT_BEHIND = {"build", ".git", "__pycache__"}


def files_below(folder):
    """Their paths, seen from the folder."""
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_BEHIND]
        yield from (pathlib.Path(base, name).relative_to(folder) for name in files)


def bring_up_to_date(source, copy):
    """Touches what differs and nothing else, so that only that is built again."""
    wanted = set(files_below(source))
    for name in set(files_below(copy)) - wanted:
        (copy / name).unlink()
    for name in wanted:
        old, new = copy / name, source / name
        if not old.is_file() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new, old)
            shutil.copymode(new, old)


class Scratch:
    """A copy of the tree with a build of its own."""

    def __init__(self, folder):
        self.source = folder / "source"
        self.build = folder / "build"
        bring_up_to_date(ROOT, self.source)
        configure = ["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)

    def make(self, targets):
        """None, or what the compiler said."""
        done = subprocess.run(["ninja", "-C", self.build, "-j2", *targets], capture_output=True, text=True, timeout=BUILD_S)
        return done.stdout[-2000:] if done.returncode else None

    def run(self, mutant, seconds):
        """'passes', 'fails' or 'hangs'."""
        command = [self.build / "tests" / mutant.test, "--filter", mutant.filter]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            return "passes" if process.wait(timeout=seconds) == 0 else "fails"
        except subprocess.TimeoutExpired:
            return "hangs"
        finally:
            end_group(process)


def end_group(process):
    """The test, and what it has started and left: a group of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Mutation:
    """The bug is in while this is entered."""

    def __init__(self, scratch, mutant):
        self.path = scratch.source / mutant.file
        self.mutant = mutant

    def __enter__(self):
        self.text = self.path.read_text()
        found = self.text.count(self.mutant.old)
        if found != 1:
            raise LookupError(f"its text stands in {self.mutant.file} {found} times")
        self.path.write_text(self.text.replace(self.mutant.old, self.mutant.new))

    def __exit__(self, *error):
        self.path.write_text(self.text)


def try_mutant(scratch, mutant, factor):
    """(found, what happened, seconds)"""
    start = time.monotonic()
    try:
        with Mutation(scratch, mutant):
            said = scratch.make([mutant.test])
            if said:
                return False, "does not build: " + said, 0
            built = time.monotonic()
            outcome = scratch.run(mutant, mutant.seconds * factor)
            return outcome != "passes", outcome, time.monotonic() - built
    except LookupError as error:
        return False, str(error), time.monotonic() - start


def check_unchanged(scratch, mutants, factor):
    """Every test passes without a bug."""
    said = scratch.make(sorted({mutant.test for mutant in mutants}))
    if said:
        sys.exit("the tree does not build: " + said)
    seen = {}
    for mutant in mutants:
        key = mutant.test, mutant.filter
        if key not in seen:
            seen[key] = scratch.run(mutant, mutant.seconds * factor)
            if seen[key] != "passes":
                sys.exit(f"{mutant.test} --filter '{mutant.filter}' {seen[key]} without any bug")
    print(f"{len(seen)} tests pass without a bug", flush=True)


def print_row(markdown, cells):
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        print(f"{cells[0]:<28} {cells[1]:<66} {cells[2]:<44} {cells[3]}", flush=True)


def run_all(scratch, mutants, options):
    survivors = 0
    print_row(options.markdown, ["file", "bug", "found by", "seconds"])
    for mutant in mutants:
        found, outcome, seconds = try_mutant(scratch, mutant, options.timeout_factor)
        by = f"`{mutant.test}`" if options.markdown else mutant.test
        if found:
            print_row(options.markdown, [mutant.file, mutant.bug, by, f"{seconds:.1f}{' (hangs)' * (outcome == 'hangs')}"])
        else:
            survivors += 1
            print_row(options.markdown, [mutant.file, mutant.bug, "NOT FOUND by " + by, outcome])
    print(f"{len(mutants) - survivors} of {len(mutants)} seeded bugs found")
    return survivors


def parse():
    parser = argparse.ArgumentParser(description="Seeds bugs and expects tests to find them.")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose file, bug or test contains it")
    parser.add_argument("--list", action="store_true", help="print them and end")
    parser.add_argument("--markdown", action="store_true", help="as a table for docs/TESTING.md")
    parser.add_argument("--keep", metavar="FOLDER", help="work there and leave it, to be quick the next time")
    parser.add_argument("--timeout-factor", type=float, default=1, metavar="N", help="for slow machines")
    return parser.parse_args()


def main():
    options = parse()
    mutants = [m for m in MUTANTS if options.only in " ".join([m.file, m.bug, m.test])]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.file}: {mutant.bug} ({mutant.test})")
        return 0
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="cxe-mutants-"))
    try:
        scratch = Scratch(folder)
        check_unchanged(scratch, mutants, options.timeout_factor)
        return 1 if run_all(scratch, mutants, options) else 0
    finally:
        if not options.keep:
            shutil.rmtree(folder)


sys.exit(main())
