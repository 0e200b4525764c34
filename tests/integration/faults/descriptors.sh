#!/bin/bash
# descriptors.sh - no descriptor is left: nobody spins, those who are connected go on, and the rest recovers by itself
. "$(dirname "$0")/lib_faults.sh"

# limit_descriptors COUNT: of the running daemon
limit_descriptors() {
    prlimit --pid "$fabricd" --nofile="$1:" || skip "limits of a running process cannot be changed here"
}
highest_descriptor() {
    ls "/proc/$fabricd/fd" | sort -n | tail -n 1
}

# idle_cpu WHAT MILLISECONDS: fabricd must be nearly asleep
idle_cpu() {
    local before
    before=$(cpu_ticks "$fabricd")
    sleep 2
    spent=$((10 * ($(cpu_ticks "$fabricd") - before)))
    echo "$1: fabricd used $spent ms of CPU in 2 s"
    [ "$spent" -le "$2" ] || fail "$1: fabricd spins, $spent ms of CPU in 2 s"
}
status_answers() {
    curl -sf --max-time 2 --unix-socket "$work/fabricd.sock" http://localhost/status
}

start_fabricd
cxe region create counters 64K >/dev/null
idle_cpu "at rest" 600

# More knock at the control socket than there are descriptors.
limit_descriptors $(($(highest_descriptor) + 3))
$python - "$work/fabricd.sock" "$work/knocking" <<'EOF' &
import socket, sys, time
knocking = [socket.socket(socket.AF_UNIX) for _ in range(24)]
for one in knocking:
    one.setblocking(False)
    try:
        one.connect(sys.argv[1])
    except BlockingIOError:
        pass
open(sys.argv[2], "w").close()
time.sleep(60)
EOF
knocker=$!
started+=("$knocker")
wait_until 10 test -e "$work/knocking"
idle_cpu "control socket without descriptors" 800
start_counter one 2 10000
end_client one "$counter_pid"
unharmed one
kill -TERM "$knocker"
wait "$knocker" 2>/dev/null || true
forget "$knocker"
from=$(date +%s%3N)
wait_until 20 status_answers
recovered "descriptors are back: until the control socket answers" $(($(date +%s%3N) - from)) 15000
stop_fabricd

# The same over TCP, where each lane of a client takes one.
export CXE_TRANSPORT=ofi
start_fabricd --transport ofi
cxe region create counters 64K >/dev/null
start_counter one 2 60000
one=$counter_pid
before=$(ulimit -Sn)
limit_descriptors $(($(highest_descriptor) + 2))
for i in 1 2 3 4; do
    timeout 20 cxe status --timeout 1s >"$work/refused.$i" 2>&1 &
    started+=("$!")
done
goes_on one
wait_until 20 sh -c "grep -q . '$work/refused.1' '$work/refused.2' '$work/refused.3' '$work/refused.4'"
end_client one "$one"
unharmed one
idle_cpu "TCP without descriptors" 800
limit_descriptors "$before"
from=$(date +%s%3N)
wait_until 20 cxe status
recovered "descriptors are back: until a client is let in" $(($(date +%s%3N) - from)) 15000
start_counter two 2 10000 65
end_client two "$counter_pid"
shared_sum one two
stop_fabricd
