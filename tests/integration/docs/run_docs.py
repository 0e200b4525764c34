#!/usr/bin/python3
"""run_docs.py - every command in README.md and docs/*.md is run, every listing is the file it claims to be

The ```sh blocks of one document run in order as one script, in an empty directory, in a network and a process
namespace of their own where the host allows it: what a document starts in the background ends with it. A block
that cannot be run here says so and why: ```sh norun: REASON. Listings stand behind a line
<!-- file: PATH --> and are compared with that file. With arguments: only these documents.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "release"
FENCE = re.compile(r"^```(\S*) *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LISTING = re.compile(r"^<!-- file: (\S+) -->\n```\S*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 120


def documents():
    return [pathlib.Path(name).resolve() for name in sys.argv[1:]] or [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def wrong_listings(text):
    for path, listing in LISTING.findall(text):
        file = ROOT / path
        if not file.exists() or file.read_text() != listing:
            yield path


def blocks(text):
    """(line, argument, commands) of each ```sh block."""
    for fence in FENCE.finditer(text):
        if fence[1] == "sh":
            yield text.count("\n", 0, fence.start()) + 1, fence[2], fence[3]


def script_of(document, runnable):
    lines = ["set -euo pipefail"]
    for line, commands in runnable:
        lines += [f"echo '@@ {document.name}:{line}'", commands]
    return "\n".join(lines)


def namespaces():
    """The words before a command that give it namespaces of its own, as far as this host allows."""
    if os.environ.get("CXE_DOCS_ON_HOST"):  # as where namespaces are not permitted
        return []
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*words, "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0:
        return words
    print("no namespaces here: the documents run on the host's loopback")
    return []


def environment(prefix, folder):
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CXE_")}
    variables.update(
        PATH=f"{prefix}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        LD_LIBRARY_PATH=f"{prefix}/lib", PKG_CONFIG_PATH=f"{prefix}/lib/pkgconfig", MANPATH=f"{prefix}/share/man:",
        XDG_RUNTIME_DIR=str(runtime), HOME=str(folder), TMPDIR=str(folder))
    return variables


def end_group(group):
    """Ends what a script left in the background, where no namespace does it."""
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                return
            number = 0
            time.sleep(0.05)


def run_script(script, unshare, folder, prefix):
    """Its exit status and its output, which a daemon in the background may hold open for longer."""
    with open(folder / "output", "w+b") as output:
        process = subprocess.Popen([*unshare, "bash", "-c", script], cwd=folder / "work",
                                   env=environment(prefix, folder), stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = f"none after {SECONDS} s"
        end_group(process.pid)
        process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def run_blocks(document, runnable, prefix, unshare):
    with tempfile.TemporaryDirectory(prefix="cxe-docs.") as name:
        folder = pathlib.Path(name)
        work = folder / "work"
        work.mkdir()
        for example in ("docs/examples", "configs"):
            if (ROOT / example).exists():
                shutil.copytree(ROOT / example, work / example)
        script = "ip link set lo up 2>/dev/null || true\n" + script_of(document, runnable)
        status, output = run_script(script, unshare, folder, prefix)
    if status == 0:
        return True
    print(output.replace("@@ ", "--- "))
    print(f"{document.name}: exit status {status} in the block at the last '---'")
    return False


def run_document(document, prefix, unshare):
    text, runnable, good = document.read_text(), [], True
    for path in wrong_listings(text):
        print(f"{document.name}: the listing of {path} is not that file")
        good = False
    for line, argument, commands in blocks(text):
        if argument.startswith("norun:"):
            print(f"{document.name}:{line}: not run: {argument[6:].strip()}")
        elif argument:
            print(f"{document.name}:{line}: '{argument}' is neither empty nor 'norun: REASON'")
            good = False
        else:
            runnable.append((line, commands))
    if runnable:
        good = run_blocks(document, runnable, prefix, unshare) and good
    print(f"{document.name}: {len(runnable)} blocks, {'ok' if good else 'NOT ok'}", flush=True)
    return good


def main():
    with tempfile.TemporaryDirectory(prefix="cxe-prefix.") as prefix:
        subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        unshare = namespaces()
        results = [run_document(document, prefix, unshare) for document in documents()]
    return 0 if all(results) else 1


sys.exit(main())
