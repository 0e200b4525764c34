#!/bin/bash
# bench_compare.sh - cxe bench compare finds what changed beyond the noise, and nothing else
. "$(dirname "$0")/lib_bench.sh"

$python - "$work" <<'END'
import json, pathlib, subprocess, sys
work = pathlib.Path(sys.argv[1])
MACHINE = {"kernel": "6.1", "cpu": "A", "cores": 2, "date": "today", "commit": "1234"}

def figure(name, value, spread=0.01, more_is_better=False, ratio=None):
    made = {"name": name, "value": value, "unit": "us", "quartiles": [value * (1 - spread), value * (1 + spread)],
            "more_is_better": more_is_better, "ratio": ratio, "ratio_quartiles": None}
    if ratio is not None:
        made["ratio_quartiles"] = [ratio * (1 - spread), ratio * (1 + spread)]
    return made

def file(name, figures, machine=MACHINE):
    (work / name).write_text(json.dumps({"machine": machine, "figures": figures, "skipped": []}))
    return work / name

def compare(old, new, *words):
    return subprocess.run(["cxe", "bench", "compare", *words, old, new], capture_output=True, text=True)

def verdicts(old, new):
    """The exit status, and what it says of each figure."""
    run = compare(file("old.json", old), file("new.json", new), "--json")
    return run.returncode, {change["name"]: change["verdict"] for change in json.loads(run.stdout)["changes"]}

def expect(status, verdict, old, new):
    found = verdicts([figure("it", **old)], [figure("it", **new)])
    assert found == (status, {"it": verdict}), (found, status, verdict, old, new)

expect(0, "same", {"value": 100}, {"value": 100})
expect(1, "worse", {"value": 100}, {"value": 110})
expect(0, "better", {"value": 100}, {"value": 90})
expect(1, "worse", {"value": 100, "more_is_better": True}, {"value": 90, "more_is_better": True})
expect(0, "better", {"value": 100, "more_is_better": True}, {"value": 110, "more_is_better": True})
expect(0, "same", {"value": 100, "spread": 0.06}, {"value": 110, "spread": 0.06})      # the quartiles overlap
expect(0, "same", {"value": 100, "spread": 0.001}, {"value": 102.9, "spread": 0.001})  # too little
expect(1, "worse", {"value": 100, "spread": 0.001}, {"value": 103.1, "spread": 0.001})
expect(0, "moved", {"value": 100, "ratio": 1.2}, {"value": 150, "ratio": 1.2})         # and so did the floor
expect(1, "worse", {"value": 100, "ratio": 1.2}, {"value": 150, "ratio": 1.8})
expect(0, "same", {"value": 100, "ratio": 1.2}, {"value": 100, "ratio": 1.8})          # it was the floor that moved

nobody_knows = figure("it", 110)
del nobody_knows["more_is_better"]
assert verdicts([figure("it", 100)], [nobody_knows]) == (2, {"it": "unjudged"})
assert verdicts([figure("it", 100), figure("gone", 1)], [figure("fresh", 1), figure("it", 100)]) == \
    (0, {"fresh": "new", "it": "same", "gone": "gone"})
assert verdicts([figure("one", 100)], [figure("other", 100)])[0] == 2

old = file("old.json", [figure("it", 100), figure("rate", 50)])
new = file("new.json", [figure("it", 120), figure("rate", 50)], {**MACHINE, "cores": 4, "date": "tomorrow"})
run = compare(old, new)
assert run.returncode == 1 and "it " in run.stdout and "+20.0 %" in run.stdout, run
assert "rate" not in run.stdout and "2 figures: 1 same 1 worse" in run.stdout, run
assert "machines differ: cores (2, then 4);" in run.stdout and "tomorrow" not in run.stdout, run
assert "differ" not in compare(old, old).stdout

(work / "broken.json").write_text('{"figures": [')
for other in (work / "broken.json", work / "absent.json", "/dev/null", file("empty.json", [])):
    run = compare(old, other)
    assert run.returncode == 2 and str(other) in run.stderr and not run.stdout, run
assert subprocess.run(["cxe", "bench", "compare", old], capture_output=True).returncode == 2
END

# What the tool itself writes can be compared.
measure own open --rate 2000 --only eth.plain --rounds 3
cxe bench compare "$work/own.json" "$work/own.json" | grep -q 'figures: 5 same' || fail "a run differs from itself"
