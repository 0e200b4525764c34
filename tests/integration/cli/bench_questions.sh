#!/bin/bash
# bench_questions.sh - benches by depth, frame, rate, pattern, load and number: they run, and what they say makes sense
. "$(dirname "$0")/lib_bench.sh"

question() { # NAME WORD...
    measure "$@" --only eth.plain --rounds 2
}

question depth depth --depth 2 --figure mixed
question frame frame --depth 64
question open open --rate 2000
question fault fault --threads 2 --figure stride
question load load --figure under_load
question writeback writeback
question idle idle
question scale scale --items 1000
$python - "$work" <<'END'
import json, pathlib, sys
work = pathlib.Path(sys.argv[1])
def read(name):
    figures = json.loads((work / f"{name}.json").read_text())["figures"]
    for figure in figures:
        low, high = figure["quartiles"]
        assert 0 <= low <= figure["value"] <= high, figure
        assert (figure["floor"] is None) == (figure["ratio"] is None), figure
        assert (figure["goal"] is None) == (figure["met"] is None) == (figure["goal_of"] is None), figure
        if figure["goal"] is not None:
            reached, goal = figure[figure["goal_of"]], figure["goal"]
            assert figure["met"] == (reached >= goal if figure["more_is_better"] else reached <= goal), figure
        if figure["series"]:
            assert {"plot", "curve", "x", "x_label"} == figure["series"].keys() or \
                {"plot", "distribution"} == figure["series"].keys(), figure
    return {figure["name"].removeprefix("eth.plain."): figure for figure in figures}

def percentiles(figures, name):
    values = [figures[f"{name}.{percentile}"]["value"] for percentile in ("p50", "p90", "p99", "p999")]
    assert 0 < values[0] and values == sorted(values), (name, values)

depth = read("depth")
for number in (1, 2):
    percentiles(depth, f"mixed_depth_{number}")
    series = depth[f"mixed_depth_{number}.p99"]["series"]
    assert (series["x"], series["curve"]) == (number, "p99"), series
    rate = depth[f"mixed_depth_{number}.rate"]
    assert rate["more_is_better"] and rate["value"] > 0 and rate["series"]["curve"] == "mixed", rate
assert len(depth) == 10, depth.keys()

frame = read("frame")
assert list(frame) == [f"read_frames_{length}B" for length in (1472, 4064, 8960, 65504)], frame.keys()
assert frame["read_frames_1472B"]["goal"] == 3e6 and frame["read_frames_65504B"]["goal"] == 10e6

opened = read("open")
percentiles(opened, "open_read_2000_per_s")
assert opened["open_read_2000_per_s.rate"]["value"] < 2500, opened  # nobody asks for more

fault = read("fault")
for mode in {name.split(".")[0] for name in fault}:
    for threads in (1, 2):
        percentiles(fault, f"{mode}.touch_stride_threads_{threads}")
        assert fault[f"{mode}.touch_stride_threads_{threads}.rate"]["series"]["x"] == threads
assert any(name.startswith("inline.") for name in fault), fault.keys()

load = read("load")
assert load["read_64B_under_load.mean"]["floor"] == "without load" and load["read_64B_under_load.mean"]["goal"] == 1.5
percentiles(load, "read_64B_under_load")

writeback = read("writeback")
one = writeback["writeback_1_line"]
assert one["value"] >= 64 and one["floor_value"] >= 4096 and one["met"], one  # a line, a page, and what goes around them
assert writeback["writeback_whole_pages"]["more_is_better"]

idle = read("idle")
assert [name for name in idle if name.startswith("idle")] == [f"idle_sessions_{number}" for number in (0, 2, 100, 1000)]
assert idle["memory_beside_pool"]["met"] and idle["memory_of_session"]["met"], idle
assert idle["memory_of_session"]["value"] > 8, idle  # the answers that it remembers are there

scale = read("scale")
for what in ("page_fault", "page_fault_and_eviction", "client_connect", "session_read", "region_create", "region_open"):
    assert scale[f"scale_{what}_1000"]["value"] > 0.1, scale
assert 4096 <= scale["scale_page_memory_1000"]["value"] < 8192, scale
END

# A round with too little work in it is no measurement, and no figure by that name is an error.
! cxe bench open --rate 10 --only eth.plain --seconds 1 --rounds 99 >"$work/little.txt" 2>&1 || fail "too little work passed"
grep -q 'a round did [0-9]* of at least 50' "$work/little.txt" || fail "too little work, but: $(tail -n 1 "$work/little.txt")"
! cxe bench frame --only eth.plain --figure nothing >"$work/none.txt" 2>&1 || fail "a figure that is not there passed"
grep -q "no figure's name contains 'nothing'" "$work/none.txt" || fail "no such figure, but: $(tail -n 1 "$work/none.txt")"

# Over a server that runs already: it tells its CPU time itself, and nothing is left behind.
start_fabricd
cxe bench idle --seconds 1 --rounds 2 --figure 100 --json - >"$work/server.json"
grep -q '"eth.encrypted.idle_sessions_100"' "$work/server.json" || fail "no figure over a running server"
[ -z "$(cxe region list | tail -n +2)" ] || fail "the benchmark left a region"
stop_fabricd
