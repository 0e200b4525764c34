#!/bin/bash
# client_killed.sh - kill -9 of clients under load: what they had acknowledged stands, others do not notice, and the
# server forgets them
. "$(dirname "$0")/lib_faults.sh"

cat >"$work/fabricd.yaml" <<'CONFIG'
idle_timeout: 2s
CONFIG
start_fabricd --config "$work/fabricd.yaml"
cxe region create counters 64K >/dev/null
start_counter steady 2
steady=$counter_pid

# At whatever moment of a frame or an operation it catches them.
names=()
for i in $(seq 12); do
    start_counter "victim$i" 4 0 $((64 + 16 * i))
    sleep "0.0$((RANDOM % 10))"
    kill -KILL "$counter_pid"
    wait "$counter_pid" 2>/dev/null || true
    forget "$counter_pid"
    names+=("victim$i")
done
for name in "${names[@]}"; do
    "$counter" check counters "$work/$name.journal" >"$work/$name.json" || fail "$name: $(cat "$work/$name.json")"
done

goes_on steady
before=$(sessions)
[ "$before" -gt 6 ] || fail "12 clients were killed, and only $before sessions are open: nothing to be forgotten"
forgotten() {
    cxe status >/dev/null
    [ "$(sessions)" -le 6 ] # the steady one's
}
from=$(date +%s%3N)
wait_until 20 forgotten
recovered "clients killed: until the server forgot their $before sessions" $(($(date +%s%3N) - from)) 15000
end_client steady "$steady"
unharmed steady
recovered "clients killed: longest gap in another client's work" "$(field steady longest_gap_ms)" 5000
shared_sum steady "${names[@]}"
stop_fabricd
