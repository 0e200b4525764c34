#!/bin/bash
# lossy.sh - a network that loses, doubles and reorders changes nothing but the time it takes
. "$(dirname "$0")/lib.sh"

start_fabricd
faults="drop=10%,dup=5%,reorder=10%,seed=$seed"

random_file "$work/data" $((4 << 20))
cxe region create data 4M >/dev/null
cxe write --fault "$faults" data "$work/data"
cxe read --fault "$faults" data -o "$work/back"
same "$work/data" "$work/back"
cxe read data -o "$work/plain"
same "$work/data" "$work/plain"

# Each addition happens exactly once: a lost answer must not make a second one.
cxe region create counter 4096 >/dev/null
for i in $(seq 40); do
    cxe fetch --fault "drop=10%,dup=20%,reorder=10%,seed=$((seed + i))" counter 0 add 1 >/dev/null
done
value=$(cxe fetch counter 0 add 0 --json | $python -c 'import json, sys; print(json.load(sys.stdin)["old"])')
[ "$((value))" = 40 ] || fail "40 additions came to $value"

# A program's memory, too. Pages go and come back over such a network, and each is right.
seq 300000 | $python -c 'import random, sys; l = sys.stdin.readlines(); random.Random(1).shuffle(l); sys.stdout.writelines(l)' >"$work/numbers"
sort -n "$work/numbers" | sha256sum >"$work/local"
cxe run --fault "$faults" --local 4M --stats "$work/stats.json" -- sort -S 64M -n "$work/numbers" | sha256sum >"$work/remote"
same "$work/local" "$work/remote"
$python - "$work/stats.json" <<'END' || fail "sort did not use the pool, or nothing was lost"
import json, sys
stats = json.load(open(sys.argv[1]))
print(stats["fetched_pages"], "pages fetched,", stats["retransmits"], "frames repeated")
sys.exit(not (stats["fetched_pages"] > 100 and stats["retransmits"] > 10))
END

# The daemon's side of the network does it too.
stop_fabricd
start_fabricd --fault "drop=10%,dup=5%,reorder=10%,seed=$seed"
cxe region create data 4M >/dev/null
cxe write data "$work/data"
cxe read data -o "$work/back"
same "$work/data" "$work/back"
stop_fabricd
