#!/bin/bash
# bench.sh - the benchmarks run, check what they read, and write figures that make sense
. "$(dirname "$0")/lib_bench.sh"

measure line line --only eth.plain --rounds 3
measure encrypted line --only eth.encrypted --rounds 3
measure page page --only eth.plain --rounds 3
$python - "$work"/line.json "$work"/encrypted.json "$work"/page.json <<'END'
import json, sys
line, encrypted, page = [json.load(open(name)) for name in sys.argv[1:]]
for report in (line, encrypted, page):
    assert report["machine"]["kernel"] and report["machine"]["cores"] > 0
    for figure in report["figures"]:
        assert figure["value"] > 0, figure
        low, high = figure["quartiles"]
        assert low <= figure["value"] <= high, figure
        assert (figure["floor"] is None) == (figure["ratio"] is None), figure
        assert (figure["goal"] is None) == (figure["met"] is None), figure
        if figure["ratio"] is not None:  # how large it is, only a quiet machine can say
            assert figure["floor_value"] > 0 and figure["ratio"] > 0, figure
            met = figure["ratio"] <= figure["goal"] if figure["goal"] else None
            assert met == figure["met"], figure
def find(report, name):
    return next(figure for figure in report["figures"] if figure["name"] == name)
assert find(line, "eth.plain.read_64B.p50")["floor"] == "UDP ping-pong 80/120 B"
assert find(line, "eth.plain.write_64B.p50")["floor"] == "UDP ping-pong 144/56 B"
assert find(line, "eth.plain.cas_8B.p50")["floor"] == "UDP ping-pong 112/72 B"
assert find(encrypted, "eth.encrypted.read_64B.p50")["goal"] == 1.5
assert find(line, "eth.plain.pipelined_64B")["goal"] == 10e6
END
grep -q '^machine: Linux' "$work/line.txt" || fail "the text does not describe the machine"

# Among several clients.
measure lock lock --only eth.plain --clients 8 --rounds 2
measure share share --only eth.plain --figure page --rounds 2
$python - "$work"/lock.json "$work"/share.json <<'END'
import json, sys
lock, share = [{f["name"].removeprefix("eth.plain."): f for f in json.load(open(name))["figures"]} for name in sys.argv[1:]]
assert lock["lock_8_clients"]["value"] > 0 and lock["lock_8_clients"]["floor"] == "spinning on a CAS"
for name in "load_of_dirty_page", "store_to_dirty_page", "store_to_clean_page":
    assert share[name + ".p50"]["goal"] == 2.5 and share[name + ".p50"]["floor_value"] > 0, share
assert share["page_ping_pong"]["value"] > 0
assert share["page_of_dead_holder.p50"]["floor_value"] == 300000
END

# Over a server that runs already, and it leaves nothing behind.
start_fabricd
measure running line --rounds 2
grep -q 'eth.encrypted.read_64B.p50' "$work/running.txt" || fail "no figure over a running server"
[ -z "$(cxe region list | tail -n +2)" ] || fail "the benchmark left a region"
stop_fabricd
