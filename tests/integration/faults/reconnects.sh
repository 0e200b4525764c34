#!/bin/bash
# reconnects.sh - thousands of clients that come and go, politely and not: no memory, no descriptor, no session stays
. "$(dirname "$0")/lib_faults.sh"

# resident PID: KiB; descriptors PID: how many
resident() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}
descriptors() {
    ls "/proc/$1/fd" | wc -l
}

# come_and_go WHAT TIMES KIB: the server may grow by so much, after it has had a fifth of the times to fill its caches
come_and_go() {
    local what=$1 times=$2 most=$3 kib fds grown from
    "$build/tests/faults.reconnector" counters $((times / 5)) >"$work/warm.json" || fail "$what: $(cat "$work/warm.json")"
    kib=$(resident "$fabricd") fds=$(descriptors "$fabricd") from=$(date +%s%3N)
    "$build/tests/faults.reconnector" counters "$times" >"$work/run.json" || fail "$what: $(cat "$work/run.json")"
    grown=$(($(resident "$fabricd") - kib))
    echo "$what: $times connections in $(($(date +%s%3N) - from)) ms; fabricd grew by $grown KiB and" \
        "$(($(descriptors "$fabricd") - fds)) descriptors; the client: $(cat "$work/run.json")"
    [ "$grown" -le "$most" ] || fail "$what: fabricd grew by $grown KiB"
    wait_until 20 sh -c "[ \$(ls /proc/$fabricd/fd | wc -l) -le $((fds + 1)) ]"
    $python - "$work/run.json" "$times" <<'EOF' || fail "$what: the client grew: $(cat "$work/run.json")"
import json, sys
run = json.load(open(sys.argv[1]))
assert run["done"] == int(sys.argv[2])
sys.exit(run["grown_kib"] > 1024 or run["grown_descriptors"] > 0)
EOF
    wait_until 20 sh -c "[ \"\$(curl -sf --unix-socket '$work/fabricd.sock' http://localhost/metrics |
        awk '/^fabricd_sessions[ {]/ { n += \$2 } END { print n + 0 }')\" = 0 ]"
}

times=2000
long && times=100000
printf 'handshake:\n  per_second: 100000\n  burst: 10000\nidle_timeout: 2s\n' >"$work/fabricd.yaml"
start_fabricd --config "$work/fabricd.yaml"
cxe region create counters 4K >/dev/null
come_and_go "UDP" "$times" 1024
[ "$(($(cxe fetch counters 0 add 0)))" = $((times + times / 5)) ] || fail "the sum of all is wrong"

# Those that are killed while they shake hands, and whatever else comes along.
kib=$(resident "$fabricd")
for _ in $(seq 20); do
    "$build/tests/faults.reconnector" counters 1000 >/dev/null &
    reconnector=$!
    sleep 0.02
    kill -KILL "$reconnector"
    wait "$reconnector" 2>/dev/null || true
done
wait_until 20 sh -c "cxe status >/dev/null; sleep 0.2; [ \"\$(curl -sf --unix-socket '$work/fabricd.sock' \
    http://localhost/metrics | awk '/^fabricd_sessions[ {]/ { n += \$2 } END { print n + 0 }')\" -le 8 ]"
echo "20 killed: fabricd grew by $(($(resident "$fabricd") - kib)) KiB" # slots of more sessions than ever before
[ $(($(resident "$fabricd") - kib)) -le 8192 ] || fail "fabricd grew by what was killed"
stop_fabricd

export CXE_TRANSPORT=ofi
start_fabricd --config "$work/fabricd.yaml" --transport ofi
cxe region create counters 4K >/dev/null
# Its buffers are taken where they are first used; some 15 MiB in the end, whatever the number of clients that came.
come_and_go "TCP by libfabric" $((times / 20)) 20480
stop_fabricd
