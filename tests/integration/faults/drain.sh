#!/bin/bash
# drain.sh - SIGTERM under load: the daemon answers until its clients pause or the time is over, and ends well; SIGHUP
# with a broken file under load changes nothing
. "$(dirname "$0")/lib_faults.sh"

printf 'drain_timeout: 2s\n' >"$work/fabricd.yaml"
start_fabricd --config "$work/fabricd.yaml"
cxe region create counters 64K >/dev/null

printf 'drain_timeout: forever\n' >"$work/fabricd.yaml"
start_counter one 4 3000
one=$counter_pid
kill -HUP "$fabricd"
wait_until 10 grep -q 'the old configuration stays' "$work/fabricd.log"
goes_on one

# A client that never pauses: until the time that the old file gave.
from=$(date +%s%3N)
kill -TERM "$fabricd"
wait "$fabricd" || fail "fabricd ended with status $?"
forget "$fabricd"
recovered "SIGTERM under load that never pauses: until fabricd ended" $(($(date +%s%3N) - from)) 12000
[ $(($(date +%s%3N) - from)) -ge 1500 ] || fail "it did not wait for its client"
kill -TERM "$one"
wait "$one" || fail "one: status $?, $(cat "$work/one.json" "$work/one.log")"
forget "$one"
cat "$work/one.json"

# Clients that end: at once. New ones are told.
rm "$work/fabricd.yaml"
printf 'drain_timeout: 60s\n' >"$work/fabricd.yaml"
: >"$work/fabricd.log"
start_fabricd --config "$work/fabricd.yaml"
cxe region create counters 64K >/dev/null
start_counter two 4 3000
two=$counter_pid
from=$(date +%s%3N)
kill -TERM "$fabricd"
wait_until 10 grep -q draining "$work/fabricd.log"
cxe status --timeout 1s 2>"$work/refused" && fail "a new client was let in by a daemon that drains"
cat "$work/refused"
goes_on two
end_client two "$two"
unharmed two
from=$(date +%s%3N)
wait "$fabricd" || fail "fabricd ended with status $?"
forget "$fabricd"
recovered "its last client has paused: until fabricd ended" $(($(date +%s%3N) - from)) 10000
