#!/usr/bin/python3
"""man.py - the man pages are well formed, and name the same options and defaults as --help, which are the real ones"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[3]
build = pathlib.Path(os.environ.get("CXE_BUILD", root / "build/release"))
pages = root / "docs/man"
OPTION = re.compile(r"--[a-z][a-z-]+")


def help_of(*command):
    return subprocess.run([build / "bin/cxe", *command, "--help"], check=True, capture_output=True, text=True).stdout


def options_of_help(text):
    """Only the table: the words around it may mention others."""
    return {match for line in text.splitlines() if re.match(r" +(-\S, +)?--", line) for match in OPTION.findall(line)[:1]}


def options_of_page(text):
    """What a list item describes."""
    return {"--" + name for line in text.splitlines() if line.startswith(".It")
            for name in re.findall(r"Fl \\-([a-z][a-z-]+)", line)}


def commands_of(text):
    return re.findall(r"^  ([a-z]+) ", text.split("Commands:\n")[1], re.M)


def fabricd_says(*options):
    return subprocess.run([build / "bin/fabricd", *options], check=True, capture_output=True, text=True).stdout


def wrong_defaults():
    """What --help, fabricd.8 and OPERATIONS.md say of a key's default, beside what it is without a file."""
    help_text = " ".join(fabricd_says("--help").split())
    page = (pages / "fabricd.8").read_text()
    table = (root / "docs/OPERATIONS.md").read_text()
    for key, value in re.findall(r"^([a-z_]+): '?([^'\n]+)'?$", fabricd_says("--check"), re.M):
        option = "-" + key.replace("_", "-")
        said = {
            "--help": re.search(rf" -{option}=[^()]*\(([^()]*)\)", help_text),
            "fabricd.8": re.search(rf"^\.It Fl {option} (?:(?!^\.It).)*?unless told\n\.Cm (\S+)", page, re.M | re.S),
            "OPERATIONS.md": re.search(rf"^\| `{key}` \| `([^`]+)`", table, re.M),
        }
        for place, found in said.items():
            if found and found[1] != value and key != "workers":  # as many as there are CPUs
                yield f"{key} is {value} by default, and {found[1]} in {place}"


def main():
    if not shutil.which("mandoc"):
        print("mandoc is not installed")
        return 77
    problems = list(wrong_defaults())
    names = commands_of(help_of())
    common = options_of_page((pages / "cxe.1").read_text())
    if common != options_of_help(help_of()):
        problems.append(f"cxe.1 and cxe --help differ: {sorted(common ^ options_of_help(help_of()))}")
    for name in names:
        page = pages / f"cxe-{name}.1"
        if not page.exists():
            problems.append(f"there is no {page.name}")
            continue
        texts = [help_of(name)]
        if "Commands:\n" in texts[0]:
            texts += [help_of(name, sub) for sub in commands_of(texts[0])]
        known = set().union(*(options_of_help(text) for text in texts)) - common
        described = options_of_page(page.read_text()) - common
        if known != described:
            problems.append(f"{page.name} and --help differ: {sorted(known ^ described)}")
        if f".Xr cxe-{name} 1" not in (pages / "cxe.1").read_text():
            problems.append(f"cxe.1 does not name {page.name}")
    files = sorted(pages.glob("*.1"))
    lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *files], capture_output=True, text=True)
    if lint.returncode != 0 or lint.stdout:
        problems.append(lint.stdout.strip())
    print("\n".join(problems) or f"{len(files)} pages, {len(names)} commands")
    return 1 if problems else 0


sys.exit(main())
