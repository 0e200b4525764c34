#!/bin/bash
# ofi.sh - the same operations over libfabric
. "$(dirname "$0")/lib.sh"

export CXE_TRANSPORT=ofi
start_fabricd --transport ofi

random_file "$work/data" $((8 << 20))
cxe region create data 8M >/dev/null
cxe write data "$work/data"
cxe read data -o "$work/back"
same "$work/data" "$work/back"

cxe region create words 4K >/dev/null
cxe cas words 0 0 7 >/dev/null
for _ in $(seq 10); do
    cxe fetch words 0 add 1 >/dev/null
done
[ "$(($(cxe fetch words 0 add 0)))" = 17 ] || fail "ten additions to seven are not seventeen"

# A client that goes without a word does not keep the next one out.
cxe read data -o /dev/null &
reader=$!
kill -KILL "$reader" 2>/dev/null || true
wait "$reader" 2>/dev/null || true
cxe read data --length 64 -o "$work/line"
[ "$(stat -c %s "$work/line")" = 64 ] || fail "a line has 64 bytes"

# Pages over libfabric come by a thread that sees the kernel's faults too.
if ! cxe run --local 8M -- true 2>"$work/why"; then
    grep -q forbidden "$work/why" || fail "cxe run: $(cat "$work/why")"
    skip "operations are right; programs were not tried: $(cat "$work/why")"
fi

# Programs, with a quarter or less of what they use kept locally.
both() {
    "$@" >"$work/local"
    cxe run --local 8M --stats "$work/stats.json" -- "$@" >"$work/remote"
    same "$work/local" "$work/remote"
    $python -c 'import json, sys; sys.exit(not json.load(open(sys.argv[1]))["fetched_pages"])' "$work/stats.json" ||
        fail "not a page was fetched for: $*"
}
both /usr/bin/python3 -c 'd = {i: str(i) * 20 for i in range(200000)}; print(sum(len(v) for v in d.values()), d[77777])'
both sqlite3 :memory: 'create table t(x);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000) insert into t select hex(i) || hex(zeroblob(200)) from n;
    select count(*), sum(length(x)), max(x) from t'
stop_fabricd
