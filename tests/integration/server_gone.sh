#!/bin/bash
# server_gone.sh - a server that dies is an error in time, never zeros and never a hang
. "$(dirname "$0")/lib.sh"

start_fabricd
cxe region create data 1M >/dev/null
random_file "$work/data" $((1 << 20))
cxe write data "$work/data"

kill -KILL "$fabricd"
wait "$fabricd" || true
forget "$fabricd"
if timeout 20 cxe read data --timeout 1s -o "$work/back" 2>"$work/error"; then
    fail "a read succeeded without a server"
fi
[ -s "$work/error" ] || fail "the failure came without a sentence"
[ ! -e "$work/back" ] || fail "half a file was left behind"

# Another incarnation has none of it, and says so.
start_fabricd
if cxe read data -o "$work/back" 2>"$work/error"; then
    fail "the data survived a server that was killed"
fi
grep -q data "$work/error" || fail "the sentence does not name the region: $(cat "$work/error")"
stop_fabricd
