"""tables.py - tables in a document against the same tables printed by a program; for the check_*.py here

In the document each table follows a line <!-- checked: NAME -->; further columns on the right are for people. The program
prints "@ NAME", then the rows.
"""
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
MARK = re.compile(r"^<!-- checked: (.*) -->$")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables_of_code(sources, folders):
    includes = [f"-I{ROOT}/{folder}" for folder in folders]
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/tables"
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", *includes, "-o", program, *sources], check=True)
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    tables = {}
    for line in output.splitlines():
        if line.startswith("@ "):
            rows = tables.setdefault(line[2:], [])
        else:
            rows.append(cells(line))
    return tables


def tables_of_document(document):
    tables, rows = {}, None
    for line in document.read_text().splitlines():
        mark = MARK.match(line)
        if mark:
            rows = tables.setdefault(mark[1], [])
        elif line.startswith("|") and rows is not None:
            if not set(line) <= set("|-: "):
                rows.append(cells(line))
        elif rows:
            rows = None
    return tables


def differences(code, document):
    for name in sorted(code.keys() | document.keys()):
        ours, theirs = code.get(name), document.get(name)
        if ours is None or theirs is None:
            yield f"table '{name}' is only in the {'code' if theirs is None else 'document'}"
            continue
        width = len(ours[0])
        theirs = [row[:width] for row in theirs]
        yield from (f"{name}: the document lacks {' | '.join(row)}" for row in ours if row not in theirs)
        yield from (f"{name}: the code lacks {' | '.join(row)}" for row in theirs if row not in ours)
        if sorted(ours) == sorted(theirs) and ours != theirs:
            yield f"{name}: the rows stand in another order"


def compare(document, sources, folders):
    """Prints what differs; the exit status."""
    code = tables_of_code(sources, folders)
    found = list(differences(code, tables_of_document(ROOT / "docs" / document)))
    for difference in found:
        print(difference)
    rows = sum(len(table) - 1 for table in code.values())
    print(f"{len(code)} tables, {rows} rows, {len(found)} differences")
    return 1 if found else 0
