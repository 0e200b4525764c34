#!/bin/bash
# bad_network.sh - loss, doubles, reordering, damage and delay far beyond what networks do: each operation still happens
# exactly once, encrypted or not
. "$(dirname "$0")/lib_faults.sh"

start_fabricd --encryption allowed
cxe region create counters 64K >/dev/null

# through SECONDS OPERATIONS FAULTS...: clients on such a network get that much done, at least
through() {
    local seconds=$1 count=$2 name=network$((++networks)) pid
    shift 2
    CXE_FAULT="$*,seed=$((seed + networks))" start_client "$name" "$counter" run counters "$work/$name.journal" 3 60000 \
        $((64 * networks))
    pid=$client_pid
    sleep "$seconds"
    wait_until 60 progressed "$name" "$count"
    end_client "$name" "$pid"
    unharmed "$name"
    recovered "$*, encryption ${CXE_ENCRYPTION:-on}: longest call" "$(field "$name" longest_call_ms)" 30000
    names+=("$name")
}
networks=0 names=()
through 1 100 drop=1%
through 1 100 drop=10%,dup=10%,reorder=20%
through 2 30 drop=30%,dup=50%,reorder=50%
through 1 30 delay=0..200ms,dup=50%
CXE_ENCRYPTION=off through 1 100 corrupt=5%
CXE_ENCRYPTION=off through 2 30 corrupt=20%,drop=10%,dup=20%,reorder=20%
through 1 100 corrupt=5%
if long; then
    through 30 10 delay=0..5s,drop=5%,dup=20%
fi
shared_sum "${names[@]}"
cxe status --json >"$work/status.json"
refused=$(curl -sf --unix-socket "$work/fabricd.sock" http://localhost/metrics |
    awk '/^fabricd_refused_tag_total/ { n += $2 } END { print n + 0 }')
[ "$refused" -gt 10 ] || fail "the server saw $refused damaged frames: nothing was damaged"
echo "$refused damaged frames were refused by the server"
stop_fabricd
