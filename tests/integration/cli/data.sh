#!/bin/bash
# data.sh - read, write, cas and fetch: any offset, any length, and never a byte beside it
. "$(dirname "$0")/../lib.sh"

start_fabricd
bytes=$((1 << 20))
cxe region create data 1M >/dev/null
random_file "$work/model" $bytes
cxe write data "$work/model"

# Random pieces, against a model in a file. Small ones begin and end inside lines; large ones travel in many frames.
$python - "$seed" $bytes >"$work/pieces" <<'END'
import random, sys
rng = random.Random(sys.argv[1])
total = int(sys.argv[2])
for i in range(60):
    length = rng.choice([0, 1, 2, 63, 64, 65, 127, 128, 4095, 4096, 65535, 65536, 65537, 200000, 300001])
    offset = rng.choice([0, rng.randrange(total - length), total - length, rng.randrange(4) * 64 % (total - length)])
    print(offset, length)
END
n=0
while read -r offset length; do
    n=$((n + 1))
    $python -c 'import random, sys; sys.stdout.buffer.write(random.Random(sys.argv[1]).randbytes(int(sys.argv[2])))' \
        "$seed-$n" "$length" >"$work/piece"
    dd if="$work/piece" of="$work/model" bs=64K seek="$offset" oflag=seek_bytes conv=notrunc status=none
    if [ $((n % 2)) = 0 ]; then
        cxe write data --offset "$offset" "$work/piece"
    else
        cxe write --offset "$offset" data <"$work/piece"
    fi
    cxe read data --offset "$offset" --length "$length" -o "$work/back"
    same "$work/piece" "$work/back"
done <"$work/pieces"
cxe read data >"$work/back"
same "$work/model" "$work/back"

# A file that does not fit is refused whole; of a pipe, what fits is written, and it says how much.
status=0
cxe write data --offset $((bytes - 10)) "$work/model" 2>"$work/err" || status=$?
[ "$status" = 1 ] && grep -q 'pass the end' "$work/err" || fail "too long a file: $status, $(cat "$work/err")"
cxe read data -o "$work/back"
same "$work/model" "$work/back"
status=0
head -c $((bytes + 1)) /dev/zero | cxe write data 2>"$work/err" || status=$?
[ "$status" = 1 ] && grep -Eq '[0-9]+ bytes were written' "$work/err" || fail "too long a pipe: $status, $(cat "$work/err")"
cxe write data "$work/model"
status=0
cxe read data --offset $((bytes + 1)) 2>"$work/err" || status=$?
[ "$status" = 1 ] && grep -q 'behind the end' "$work/err" || fail "reading behind the end: $status, $(cat "$work/err")"

# A file that could not be read whole stays as it was, and nothing lies beside it.
echo precious >"$work/kept"
! cxe read data --length 2M -o "$work/kept" 2>/dev/null || fail "read more than there is"
! cxe read none -o "$work/kept" 2>/dev/null || fail "read a region that is not there"
[ "$(cat "$work/kept")" = precious ] || fail "a failed read changed the file"
[ "$(echo "$work"/kept*)" = "$work/kept" ] || fail "a failed read left $(echo "$work"/kept*)"
cxe read data -o /dev/null
! cxe read data -o /dev/full 2>/dev/null || fail "a full disk looked like success"
! cxe status >/dev/full 2>/dev/null || fail "a full disk looked like success"

# cas: 0 and "swapped", 1 and "not swapped"; every width.
cxe region create words 4096 >/dev/null
for width in 4 8 16; do
    offset=$((width * 64))
    [ "$(cxe cas words $offset --width $width 0 0xff)" = "0x$(printf "%0$((2 * width))x" 0) swapped" ] || fail "cas $width"
    status=0
    out=$(cxe cas words $offset --width $width 0 1) || status=$?
    [ "$status" = 1 ] && [ "$out" = "0x$(printf "%0$((2 * width))x" 255) not swapped" ] || fail "cas $width: $status, $out"
done
wide=0xfedcba98765432100123456789abcdef
cxe cas words 16 --width 16 0 $wide >/dev/null
[ "$(cxe cas words 16 --width 16 $wide 340282366920938463463374607431768211455)" = "$wide swapped" ] || fail "16 bytes"
[ "$(cxe read words --offset 16 --length 16 | od -An -v -tx1 | tr -d " \n")" = ffffffffffffffffffffffffffffffff ] || fail "16 bytes, max"

# fetch: each operation, with the answer a machine of 64 bits has.
check_fetch() { # OPERATION VALUE WAS WILL-BE
    cxe fetch words 512 swap "$3" >/dev/null
    local was
    was=$(cxe fetch words 512 "$1" "$2" --json | $python -c 'import json, sys; print(json.load(sys.stdin)["old"])')
    [ "$((was))" = "$(($3))" ] || fail "fetch $1: it was $was, not $3"
    was=$(cxe fetch words 512 or 0)
    [ "$((was))" = "$(($4))" ] || fail "fetch $1 $2 on $3 makes $was, not $4"
}
check_fetch add 5 0xfffffffffffffffe 3
check_fetch swap 7 9 7
check_fetch and 0xff00 0x1234 0x1200
check_fetch or 0xff00 0x1234 0xff34
check_fetch xor 0xff00 0x1234 0xed34
check_fetch min 5 0xffffffffffffffff 5
check_fetch max 5 0xffffffffffffffff 0xffffffffffffffff
[ "$(cxe fetch words 516 --width 4 add 1)" = 0x00000000 ] || [ "$(cxe fetch words 516 --width 4 add 0)" = 0x00000000 ] || fail "4 bytes"

# Forty processes add; none is lost.
for i in $(seq 40); do
    echo "fetch words 2048 add $i"
done | xargs -P 8 -L 1 cxe >/dev/null
[ "$(($(cxe fetch words 2048 add 0)))" = 820 ] || fail "additions were lost"

# The reports, and live as lines.
cxe status --json | $python -c 'import json, sys; s = json.load(sys.stdin); assert s["encrypted"] and s["pool_bytes"] > 0'
[ "$(cxe top -n 3 --interval 10ms --json | wc -l)" = 3 ] || fail "top -n 3"
stop_fabricd

# A server that is gone: nothing was done, and it is said.
status=0
cxe fetch words 0 add 1 --timeout 300ms >"$work/out" 2>"$work/err" || status=$?
[ "$status" = 1 ] && [ ! -s "$work/out" ] || fail "no server: $status, $(cat "$work/out" "$work/err")"
