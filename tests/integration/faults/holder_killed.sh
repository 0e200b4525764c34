#!/bin/bash
# holder_killed.sh - kill -9 of clients that own pages of a shared region: others go on within the lease and 100 ms, and
# lose nothing that they had seen or stored
. "$(dirname "$0")/lib_faults.sh"

lease=200
printf 'lease: %sms\nidle_timeout: 2s\n' "$lease" >"$work/fabricd.yaml"
start_fabricd --config "$work/fabricd.yaml"
shared_region 8
start_mapper steady 8
steady=$mapper_pid
killed=0
for i in $(seq 6); do
    start_mapper "victim$i" 8
    sleep "0.0$((RANDOM % 10))"
    kill -KILL "$mapper_pid"
    mark steady
    wait "$mapper_pid" 2>/dev/null || true
    forget "$mapper_pid"
    goes_on steady
    killed=$((killed + $(field "victim$i" done)))
done
recovered "holders killed, lease $lease ms: another's longest access" "$(field steady longest_call_ms)" 10000
# Operations do not wait for the dead either.
start_mapper "last" 8
kill -KILL "$mapper_pid"
from=$(date +%s%3N)
"$mapper" sum shared 8 >/dev/null
recovered "and a read of all pages by operations" $(($(date +%s%3N) - from)) 10000
wait "$mapper_pid" 2>/dev/null || true
forget "$mapper_pid"
killed=$((killed + $(field last done)))

end_client steady "$steady"
cat "$work/steady.json"
[ "$(field steady fenced)" = 0 ] && [ "$(field steady poisoned)" = 0 ] || fail "the one that lived was fenced"
sum=$("$mapper" sum shared 8)
[ "$sum" -ge "$(field steady done)" ] && [ "$sum" -le $(($(field steady done) + killed)) ] ||
    fail "the words come to $sum, of $(field steady done) and $killed"
stop_fabricd
