#!/bin/bash
# figures.sh - medians, ratios pair by pair, goals, the schema, and caches computed from a trace are what they are said to be
. "$(dirname "$0")/../lib.sh"

$python - "$root" "$seed" <<'END'
import copy, json, pathlib, random, sys
root, seed = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.path[:0] = [str(root / "bench"), str(root / "tests/integration/bench")]
from harness import figures as module, runs
from harness.figures import Figures, check_document, complaints_of, interleave

# Subject and floor in turn, one round more than is counted.
calls = []
def subject(name):
    calls.append(name)
    return len(calls)
assert interleave(2, lambda: subject("A"), lambda: subject("B")) == [[3, 5], [4, 6]]
assert "".join(calls) == "ABABAB"
assert interleave(1, lambda: 7, warm_up=False) == [[7]]

# The ratio is that of the pairs: a machine half as fast for a while changes the medians and not the ratio.
made = Figures(say=lambda line: None)
own = made.add("a.b", "us", [10, 20, 44, 10, 10], "floor", [5, 10, 22, 8, 5], ratio_goal=2)
own = made.find("a.b")
assert (own["value"], own["quartiles"], own["floor_value"], own["ratio"]) == (10, [10, 20], 8, 2), own
assert own["met"] and own["goal_of"] == "ratio"
for goal, more, met in ((1.9, False, False), (2.1, False, True), (1.9, True, True), (2.1, True, False)):
    made.add(f"goal.{goal}.{more}", "x", [4], "floor", [2], ratio_goal=goal, more_is_better=more)
    assert made.find(f"goal.{goal}.{more}")["met"] is met, (goal, more)
made.add("value.goal", "x", [4], value_goal=4)
assert made.find("value.goal")["met"] and made.find("value.goal")["goal_of"] == "value"

def refused(error, call):
    try:
        call()
    except error as why:
        return str(why)
    raise AssertionError("that was taken")

assert "of that name" in refused(RuntimeError, lambda: made.add("a.b", "us", [1]))
refused(ValueError, lambda: made.add("uneven", "us", [1, 2], "floor", [1]))

# The setting is printed with the figure, and what is skipped by its name.
said = []
loud = Figures(say=said.append)
loud.add("it", "us", [1], setting="as fast as it can")
loud.skip("a rival", "is not installed")
assert "as fast as it can" in said[0] and "a rival" in said[1] and "not installed" in said[1], said

# What is no figure is found, member by member.
import canned
document = canned.make(skipped=True)
check_document(json.loads(json.dumps(document)))
assert {item["name"] for item in document["skipped"]} == {"redis GET", "UCX get"}
for member in module.MEMBERS:
    broken = copy.deepcopy(document)
    del broken["figures"][0][member]
    assert member in refused(ValueError, lambda: check_document(broken))
    broken["figures"][0][member] = object()
    refused(ValueError, lambda: check_document(broken))
good = document["figures"][0]
assert complaints_of(good) == [] and good["floor"] and good["goal"]
for change in ({"met": not good["met"]}, {"quartiles": [good["value"] + 1] * 2}, {"ratio": None}, {"goal_of": None},
               {"value": float("nan")}, {"value": True}, {"series": {"plot": "x"}}, {"unit": None}, {"extra": 1}):
    assert complaints_of({**good, **change}), change
refused(ValueError, lambda: check_document({**document, "figures": [good, good]}))
refused(ValueError, lambda: check_document({**document, "skipped": [{"name": "x"}]}))

# Caches of so many pages, beside a simple list of them.
def hits_of(trace, pages, first, moves):
    cache, hits = [], 0
    for at, page in enumerate(trace):
        if page in cache:
            hits += at >= first
            if moves:
                cache.remove(page)
                cache.append(page)
        else:
            cache = (cache + [page])[-pages:]
    return hits / (len(trace) - first)
draw = random.Random(seed)
for pages in (1, 2, 7, 30):
    trace = [min(draw.randrange(60), draw.randrange(60)) for _ in range(2000)]
    expected = (hits_of(trace, pages, 500, False), hits_of(trace, pages, 500, True))
    assert runs.page_cache_hits(trace, pages, 500) == expected, (pages, expected)
assert runs.page_cache_hits([1, 2, 3] * 10, 3, 3) == (1, 1) and runs.page_cache_hits([1, 2, 3] * 10, 2, 3) == (0, 0)
END

# The schema is the documented one: each member has its row.
for member in name value unit quartiles more_is_better floor floor_value ratio ratio_quartiles goal_of goal met series setting; do
    grep -q "^|.*\`$member\`" "$root/docs/BENCHMARKS.md" || fail "docs/BENCHMARKS.md does not explain $member"
done
