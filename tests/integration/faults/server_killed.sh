#!/bin/bash
# server_killed.sh - kill -9 of the server under load: every client gets an answer, nothing acknowledged is
# contradicted, and what was opened before is stale after the restart
. "$(dirname "$0")/lib_faults.sh"

start_fabricd
cxe region create counters 64K >/dev/null
start_counter one 4 2000
one=$counter_pid
start_counter two 4 2000 65
two=$counter_pid

# Dead, and nobody in its place: each operation that is out comes back in the client's time.
kill -KILL "$fabricd"
wait "$fabricd" || true
forget "$fabricd"
mark one
mark two
answered() {
    $python -c 'import sys; sys.exit(not float(sys.argv[1]) >= 0)' "$(field "$1" answered_ms)"
}
wait_until 20 answered one
wait_until 20 answered two
recovered "server killed: until every thread had an answer" "$(field one answered_ms)" 12000

# Another incarnation at the same address: the handles are stale, so all threads end by themselves.
mark one
mark two
fabricd --listen "$CXE_SERVER" --key "$work/server.key" --control "$work/fabricd.sock" --pool 256M \
    >>"$work/fabricd.log" 2>&1 &
fabricd=$!
started+=("$fabricd")
for name in one two; do
    wait "${!name}" || fail "$name: status $?, $(cat "$work/$name.json" "$work/$name.log")"
    forget "${!name}"
    [ "$(field "$name" stale)" = 4 ] || fail "$name: not all threads saw a stale handle: $(cat "$work/$name.json")"
done
recovered "server restarted: until every thread knew its handle stale" "$(field one answered_ms)" 12000
cat "$work/one.json" "$work/two.json"
cxe read counters -o "$work/back" 2>/dev/null && fail "a region survived kill -9 of its server"

# Nothing is left that would keep new clients out.
cxe region create counters 64K >/dev/null
start_counter three 2
end_client three "$counter_pid"
shared_sum three
stop_fabricd
