#!/usr/bin/python3
"""check_names.py - what the documents name exists: files, functions, constants

Looked at: `words_with_an_underscore`, `UPPER_CASE` ones too, and `paths/with.dots` in README.md and docs/*.md. A word must
stand in the sources as a whole word, but for the prefix of a constant, or be a system call; a path must exist.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCES = ("proto", "fabricd", "client", "tests", "bench", "configs", "docs/examples")
SUFFIXES = {".c", ".h", ".def", ".py", ".sh", ".yaml", ".map", ".in", ".txt"}
NAME = re.compile(r"`([A-Za-z]\w*_\w*)`")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)`")
WORD = re.compile(r"\w+")
COUNTER = re.compile(r"WORKER_COUNTER\((\w+?)(?:_ns)?, (\w+)")


def words_of_sources():
    words = set()
    for folder in SOURCES:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in SUFFIXES and file.is_file():
                words |= set(WORD.findall(file.read_text(errors="replace")))
    constants = {word.split("_", 1)[1] for word in words if word.isupper() and "_" in word}
    return words | constants | series() | system_calls()


def system_calls():
    for header in pathlib.Path("/usr/include").glob("**/asm/unistd_64.h"):
        return set(re.findall(r"__NR_(\w+)", header.read_text()))
    return set()


def series():
    """Names that the metrics page makes of counters.def."""
    suffixes = {"total": "_total", "ns": "_seconds_total", "gauge": ""}
    counters = COUNTER.findall((ROOT / "fabricd" / "counters.def").read_text())
    return {f"fabricd_{name}{suffixes[unit]}" for name, unit in counters if unit in suffixes}


def unknown(text, words):
    yield from (name for name in NAME.findall(text) if name not in words)
    yield from (path for path in PATH.findall(text) if not path.startswith("build/") and not (ROOT / path).exists())


def main():
    words, found = words_of_sources(), 0
    for document in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        for name in sorted(set(unknown(document.read_text(), words))):
            print(f"{document.name}: there is no '{name}'")
            found += 1
    print(f"{found} names without a thing")
    return 1 if found else 0


sys.exit(main())
