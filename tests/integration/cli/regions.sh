#!/bin/bash
# regions.sh - what cxe region says and does, as text and as JSON
. "$(dirname "$0")/../lib.sh"

start_fabricd

# member NAME: of the JSON object on standard input
member() {
    $python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

cxe region create one 1M --json >"$work/one"
[ "$(member bytes <"$work/one")" = $((1 << 20)) ] || fail "create --json: $(cat "$work/one")"
[ "$(member ephemeral <"$work/one")" = False ] || fail "it is ephemeral without having been asked"
cxe region create two/b.c-d_e 8K --ephemeral >/dev/null
[ "$(cxe region stat two/b.c-d_e --json | member ephemeral)" = True ] || fail "--ephemeral is lost"
[ "$(cxe region stat two/b.c-d_e --json | member shared)" = False ] || fail "shared without having been asked"
cxe region create --shared both 8K --json | member shared | grep -qx True || fail "--shared is lost"
cxe region list | grep -q '^both .*shared' || fail "the list does not say shared"
cxe region rm both

# Names are listed all, each once, also when there are more than one batch of them.
for i in $(seq 150); do
    echo "region create many-$i 4096"
done | xargs -P 4 -L 1 cxe >/dev/null
cxe region list --json >"$work/list"
$python - "$work/list" <<'END'
import json, sys
names = [region["name"] for region in json.load(open(sys.argv[1]))]
assert len(names) == len(set(names)) == 152, (len(names), len(set(names)))
END
[ "$(cxe region list | tail -n +2 | wc -l)" = 152 ] || fail "the text has other regions than the JSON"

# Growing keeps what is there; the new part is zero. Shrinking is refused.
random_file "$work/data" $((1 << 20))
cxe write one "$work/data"
cxe region grow one 2M >/dev/null
cxe read one -o "$work/grown"
[ "$(stat -c %s "$work/grown")" = $((2 << 20)) ] || fail "it did not grow"
cmp -n $((1 << 20)) "$work/data" "$work/grown" || fail "growing changed the data"
tail -c $((1 << 20)) "$work/grown" | cmp -n $((1 << 20)) - /dev/zero || fail "the new part is not zero"
! cxe region grow one 1M 2>/dev/null || fail "a region shrank"

# A clone is as of then, on both sides.
cxe region clone one copy >/dev/null
echo changed | cxe write one
cxe read copy --length 1M -o "$work/copy"
same "$work/data" "$work/copy"
echo other | cxe write copy --offset 100
[ "$(cxe read one --length 7)" = changed ] || fail "the clone's write reached the original"

# A sealed region is read-only for good, and says so.
cxe region seal copy | grep -q sealed || fail "seal does not say sealed"
status=0
echo x | cxe write copy 2>"$work/err" || status=$?
[ "$status" = 1 ] && grep -q sealed "$work/err" || fail "writing a sealed region: $status, $(cat "$work/err")"
status=0
cxe cas copy 0 0 1 2>"$work/err" >"$work/out" || status=$?
[ "$status" = 1 ] && [ ! -s "$work/out" ] || fail "cas on a sealed region: $status, $(cat "$work/out")"

# A deleted region is gone, and its name is free.
[ "$(cxe region rm copy --json | member deleted)" = copy ] || fail "rm --json"
! cxe region stat copy 2>/dev/null || fail "it is still there"
cxe region create copy 4096 >/dev/null
cxe read copy | cmp -n 4096 - /dev/zero || fail "a new region of an old name is not zero"
stop_fabricd
