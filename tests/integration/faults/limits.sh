#!/bin/bash
# limits.sh - little memory, small limits, a second daemon at the same place: refused at the start, with the reason
. "$(dirname "$0")/lib_faults.sh"

# refuses WORDS COMMAND...: it ends by itself, soon, with status 1 and a last line that has the words
refuses() {
    local words=$1 status=0
    shift
    timeout 20 "$@" >"$work/out" 2>&1 </dev/null || status=$?
    [ "$status" = 1 ] || fail "status $status of: $* ($(tail -n 1 "$work/out"))"
    tail -n 1 "$work/out" | grep -q -- "$words" || fail "'$words' is not in: $(tail -n 1 "$work/out")"
    printf '%-40s %s\n' "$words" "$(tail -n 1 "$work/out")"
}
try=(fabricd --listen 127.0.0.1:0 --workers 1 --control "$work/tried.sock")

# ---- limits of the process ----
refuses "file descriptors" prlimit --nofile=16 "${try[@]}" --pool 16M
refuses "ulimit -s" prlimit --stack=65536 "${try[@]}" --pool 16M
refuses "pool" prlimit --as=60000000 "${try[@]}" --pool 128M
refuses "memory" prlimit --as=100000000 "${try[@]}" --pool 16M
ordinary="setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all"
if [ "$(id -u)" = 0 ] && $ordinary test -x "$bin/fabricd"; then
    chmod 711 "$work"
    mkdir -m 777 "$work/anyone"
    refuses "thread" $ordinary prlimit --nproc=1 "${try[@]}" --pool 16M --control "$work/anyone/tried.sock"
else
    echo "a limit of threads was not tried: that takes root, and a build that others can reach"
fi
# What is not needed may be missing: locked memory for keys, room for the log.
for limit in --memlock=0 --fsize=0; do
    prlimit $limit fabricd --listen 127.0.0.1:0 --workers 1 --pool 16M --control "$work/tried.sock" >"$work/out" 2>&1 &
    tried=$!
    started+=("$tried")
    wait_until 20 curl -sf --unix-socket "$work/tried.sock" http://localhost/status
    kill -TERM "$tried"
    wait "$tried" || fail "with $limit fabricd ended with status $?"
    forget "$tried"
done

# ---- a control group that is too small for the pool ----
group=/sys/fs/cgroup/memory/cxe-test-$$ limit=memory.limit_in_bytes
[ -d /sys/fs/cgroup/memory ] || { group=/sys/fs/cgroup/cxe-test-$$ limit=memory.max; }
if mkdir "$group" 2>/dev/null && at_end+=("rmdir $group") && echo 64M >"$group/$limit" 2>/dev/null; then
    refuses "cgroup" bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "${try[@]}" --pool 128M
else
    echo "a control group for memory was not tried: none can be made here"
fi

# ---- a second daemon ----
start_fabricd
cxe region create counters 64K >/dev/null
start_counter one 2 60000
one=$counter_pid
port=${CXE_SERVER#*:}
refuses "$port" fabricd --listen "$CXE_SERVER" --pool 16M --control "$work/tried.sock"
refuses "$port" fabricd --listen "$CXE_SERVER" --pool 16M --control "$work/tried.sock" --workers 2
refuses "fabricd.sock" fabricd --listen 127.0.0.1:0 --workers 1 --pool 16M --control "$work/fabricd.sock"
goes_on one
curl -sf --unix-socket "$work/fabricd.sock" http://localhost/status >"$work/out" ||
    fail "the control socket was taken from the first daemon"

# Killed, and started again at once: nothing that it left, socket or port, is in the way.
from=$(date +%s%3N)
kill -KILL "$fabricd"
wait "$fabricd" || true
forget "$fabricd"
fabricd --listen "$CXE_SERVER" --key "$work/server.key" --control "$work/fabricd.sock" --pool 256M \
    >>"$work/fabricd.log" 2>&1 &
fabricd=$!
started+=("$fabricd")
wait_until 20 cxe status
recovered "killed and started again: until it serves" $(($(date +%s%3N) - from)) 15000
curl -sf --unix-socket "$work/fabricd.sock" http://localhost/status >"$work/out" || fail "no control socket after kill -9"
wait "$one" || fail "one: status $?, $(cat "$work/one.json" "$work/one.log")"
forget "$one"
[ "$(field one stale)" = 2 ] || fail "a handle survived: $(cat "$work/one.json")"
stop_fabricd
