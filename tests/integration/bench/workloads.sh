#!/bin/bash
# workloads.sh - every workload starts with its question, measures what it says, and notices memory that is not right
. "$(dirname "$0")/../lib.sh"

# The question is the first line of the source, the help, and the output: NAME FIGURE...
workload() {
    local name=$1 program=$bin/workload-$1 first question figure
    shift
    first=$(head -n 1 "$root/bench/workloads/$name.c")
    question=$(sed -E 's|^/\* [a-z]+\.c - (.*\?)$|\1|' <<<"$first")
    [ "$question" != "$first" ] || fail "$name.c does not start with a question: $first"
    "$program" --help | sed 1d | tr '\n' ' ' | tr -s ' ' | grep -qF "$question" || fail "$name --help does not say: $question"
    for figure in "$@"; do
        grep -q "^{\"name\": \"$figure\", \"value\": [0-9.e+]*, \"unit\": \"[^\"]*\"}$" "$work/$name.txt" ||
            fail "$name measured no $figure: $(cat "$work/$name.txt")"
    done
    grep -qF "{\"question\": \"$question\"}" "$work/$name.txt" || fail "$name does not print: $question"
}

for name in gups stream chase zipf sort graph; do
    "$bin/workload-$name" --bytes 1M --seed "$seed" >"$work/$name.txt" || fail "$name: exit status $?"
done
redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --dir "$work" >"$work/redis.log" &
started+=($!)
wait_until 20 test -S "$work/redis.sock"
"$bin/workload-ycsb" --load --records 2000 --seconds 1 --workloads EF "$work/redis.sock" >"$work/ycsb.txt"

workload gups updates
workload stream copy scale add triad
workload chase hop
workload zipf put get
workload sort sort
workload graph bfs pagerank
workload ycsb load ycsb_E ycsb_E.p99 ycsb_F ycsb_F.p99

# A value that somebody changed is no value.
redis-cli -s "$work/redis.sock" EVAL "for i = 0, 1999 do redis.call('SETRANGE', 'user' .. i, 100, 'changed') end" 0 >/dev/null
! "$bin/workload-ycsb" --records 2000 --seconds 1 --workloads C "$work/redis.sock" >"$work/wrong.txt" 2>&1 ||
    fail "changed values passed"
grep -q 'is not what it was' "$work/wrong.txt" || fail "changed values, but: $(tail -n 1 "$work/wrong.txt")"

# The same work on a file, as on an nbdfuse mapping; and the trace has the page of each get, and of some the next one, too.
truncate -s 4M "$work/file"
"$bin/workload-sort" --bytes 1M --file "$work/file" | grep -q '"sort"' || fail "nothing was sorted in a file"
"$bin/workload-zipf" --bytes 1M --work 4000 --trace "$work/trace" >/dev/null
/usr/bin/python3 - "$work/trace" <<'END' || fail "the trace is wrong"
import array, pathlib, sys
trace = array.array("I", pathlib.Path(sys.argv[1]).read_bytes())
following = sum(b == (a + 1) % 256 for a, b in zip(trace, trace[1:]))
assert 5000 < len(trace) < 6000 and max(trace) < 256 and following >= len(trace) - 5000, (len(trace), max(trace), following)
END

# A graph that was kept is the one that was made; another one, or a part of it, is refused.
graph_of() { "$bin/workload-graph" --bytes 1M --graph "$work/graph" "$@"; }
graph_of --seed "$seed" >/dev/null || fail "no graph was written"
cp "$work/graph" "$work/graph.first"
graph_of --seed "$seed" | grep -q '"pagerank"' || fail "the graph that was written is not one to read"
cmp "$work/graph" "$work/graph.first" || fail "reading a graph changed it"
! graph_of --seed $((seed + 1)) 2>"$work/wrong.txt" >/dev/null || fail "another graph passed"
grep -q 'holds another graph' "$work/wrong.txt" || fail "another graph, but: $(cat "$work/wrong.txt")"
truncate -s 100K "$work/graph"
! graph_of --seed "$seed" 2>"$work/wrong.txt" >/dev/null || fail "half a graph passed"
grep -q 'too short' "$work/wrong.txt" || fail "half a graph, but: $(cat "$work/wrong.txt")"

# An echo for the floors, and pages that come back from a file.
echo_answers() { # both ends spin: where others have the processors, a second is too short, and that is said
    local port
    port=$(free_port)
    "$bin/rival-pingpong" --serve "$@" --request-bytes 80 --answer-bytes 120 "127.0.0.1:$port" >"$work/echo.log" 2>&1 &
    started+=($!)
    "$bin/rival-pingpong" "$@" --request-bytes 80 --answer-bytes 120 "127.0.0.1:$port" >"$work/echo.txt" 2>&1 ||
        grep -q 'too little work' "$work/echo.txt"
}
echo_answers || fail "no echo: $(cat "$work/echo.txt")"
grep -Eq '"p50"|only [0-9]+ requests' "$work/echo.txt" || fail "an echo without figures: $(cat "$work/echo.txt")"
truncate -s 8M "$work/file"
"$bin/rival-touch" --bytes 4M --file "$work/file" | grep -q '"scan"' || fail "no scan of a file"
