#!/bin/bash
# run.sh - the whole benchmark's program: one question from start to report, and what is missing is skipped by name
. "$(dirname "$0")/../lib.sh"

run() {
    $python "$root/bench/run.py" --build "$build" --quick "$@"
}

# A question without rivals that has a program run on a pool. The figures are in the file, and the file is what is promised.
export MPLCONFIGDIR=$work
run --only sqlite --folder "$work/report" --json "$work/run.json" >"$work/run.txt" 2>&1 || fail "$(cat "$work/run.txt")"
$python - "$root" "$work/run.json" <<'END'
import json, sys
sys.path.insert(0, sys.argv[1] + "/bench")
from harness.figures import check_document
document = json.load(open(sys.argv[2]))
check_document(document)
figure, = document["figures"]
assert figure["name"] == "sqlite.quarter_local" and figure["floor"] == "all local", figure
assert figure["value"] > 0 and figure["floor_value"] > 0 and figure["ratio"] > 0.5, figure
machine = document["machine"]
assert machine["kernel"] and machine["cores"] > 0 and machine["memory_bytes"] > 1 << 28 and machine["commit"]
assert machine["steal_percent"] >= 0 and isinstance(machine["mitigated"], list) and isinstance(machine["virtual"], bool)
END
grep -q '== How long does sqlite3 take' "$work/run.txt" || fail "the question is not printed: $(cat "$work/run.txt")"
if $python -c 'import matplotlib' 2>/dev/null; then
    grep -q 'sqlite.quarter_local' "$work/report/report.html" || fail "the report does not have the figure"
else
    grep -q 'not drawn' "$work/run.txt" || fail "nobody said that the report is missing"
fi

# Rivals that are not installed: only taskset and what is ours can be found.
mkdir "$work/path"
ln -s "$(command -v taskset)" "$work/path/taskset"
tries=0 # where others have the processor for a second, a round may have done too little
until env PATH="$work/path" $python "$root/bench/run.py" --build "$build" --quick --only pipelined \
    --folder "$work/missing" >"$work/missing.txt" 2>&1; do
    [ $((tries += 1)) -lt 5 ] || fail "$(cat "$work/missing.txt")"
done
for rival in redis memcached; do
    grep -Eq "^$rival (GET|get), 64 deep +skipped: $rival[a-z-]* is not installed" "$work/missing.txt" ||
        fail "$rival is not skipped by name: $(cat "$work/missing.txt")"
done
grep -q '^pipelined_64B.cxe eth.plain' "$work/missing.txt" || fail "nothing was measured: $(cat "$work/missing.txt")"
grep -q '"name": "memcached get, 64 deep"' "$work/missing/bench.json" || fail "the file does not say what was skipped"

# What fails is named, and is the exit status; what cannot be is refused.
status=0
$python "$root/bench/run.py" --build "$work" --quick --only sqlite --folder "$work/failed" >"$work/failed.txt" 2>&1 || status=$?
[ $status = 1 ] && grep -q 'not measured: sqlite_in_memory' "$work/failed.txt" || fail "status $status: $(cat "$work/failed.txt")"
status=0
run --only nothing_of_that_name >"$work/none.txt" || status=$?
[ $status = 2 ] || fail "a question that is not there: status $status"
status=0
run --rounds 0 2>/dev/null || status=$?
[ $status = 2 ] || fail "no rounds: status $status"

# The questions are those that the document explains.
run --list | while read -r name question; do
    grep -q "^| \`$name\` |" "$root/docs/BENCHMARKS.md" || fail "docs/BENCHMARKS.md does not explain $name"
    [ "${question%\?}" != "$question" ] || fail "$name asks nothing: $question"
done
