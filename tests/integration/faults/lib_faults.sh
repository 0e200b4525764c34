# lib_faults.sh - what the scripts of this folder share; sourced, never run
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
counter=$build/tests/faults.counter
mapper=$build/tests/faults.mapper
[ -x "$counter" ] || skip "this build has no programs of tests/integration/faults"

# Two hosts and the cable between them: $server_ns with device s0, $client_ns with c0; 10.77.0.1 and .2, fd77::1 and ::2.
two_hosts() {
    server_ns=cxe-s-$$ client_ns=cxe-c-$$
    ip netns add "$server_ns" 2>/dev/null || skip "network namespaces are not permitted here"
    at_end+=("ip netns delete $server_ns")
    ip netns exec "$server_ns" true 2>/dev/null || skip "programs cannot be moved to a network namespace here"
    ip netns add "$client_ns"
    at_end+=("ip netns delete $client_ns")
    ip link add s0 netns "$server_ns" type veth peer name c0 netns "$client_ns" 2>/dev/null || skip "no veth devices here"
    ip -n "$server_ns" address add 10.77.0.1/24 dev s0
    ip -n "$client_ns" address add 10.77.0.2/24 dev c0
    ip -n "$server_ns" address add fd77::1/64 dev s0 nodad
    ip -n "$client_ns" address add fd77::2/64 dev c0 nodad
    set_mtu "${1:-1500}"
    for end in "$server_ns s0" "$client_ns c0"; do
        set -- $end
        ip -n "$1" link set lo up
        ip -n "$1" link set "$2" up
        ip -n "$1" link set "$2" gso_max_segs 1 # what is lost or held is one frame, as on a wire, not a burst
    done
}

# set_mtu BYTES: at both ends
set_mtu() {
    ip -n "$server_ns" link set s0 mtu "$1"
    ip -n "$client_ns" link set c0 mtu "$1"
}

# lose_frames NAMESPACE DEVICE ingress|egress [BYTES]: frames that go this way are lost without a word; only those above so many
# bytes, if told. mend NAMESPACE DEVICE: no more.
lose_frames() {
    local program='1,6 0 0 2'
    [ -z "${4:-}" ] || program="4,128 0 0 0,37 0 1 $4,6 0 0 2,6 0 0 4294967295" # length above it: drop; else: go on
    tc -n "$1" qdisc add dev "$2" clsact 2>/dev/null || true
    tc -n "$1" filter add dev "$2" "$3" bpf da bytecode "$program" 2>"$work/tc.log" ||
        skip "no traffic control with BPF here: $(head -n 1 "$work/tc.log")"
}
mend() {
    tc -n "$1" qdisc delete dev "$2" clsact
}

on_client() {
    ip netns exec "$client_ns" "$@"
}

# host_fabricd ADDRESS [OPTION...]: on the server's host, one tenant; $fabricd is its process
host_fabricd() {
    local address=$1
    shift
    if [ ! -e "$work/server.key" ]; then
        cxe keygen "$work/server.key" >/dev/null
        cxe keygen "$work/client.key" >"$work/client.pub"
        cat >"$work/fabricd.yaml" <<CONFIG
key_file: $work/server.key
control_socket: $work/fabricd.sock
tenants:
  - name: tester
    id: 1
    public_key: $(cat "$work/client.pub")
CONFIG
    fi
    export CXE_SERVER=$address CXE_SERVER_KEY=$work/server.key.pub CXE_KEY=$work/client.key
    ip netns exec "$server_ns" fabricd --config "$work/fabricd.yaml" --listen "$address" --pool 256M "$@" \
        >>"$work/fabricd.log" 2>&1 &
    fabricd=$!
    started+=("$fabricd")
    wait_until 20 on_client cxe status
}

# start_client NAME PROGRAM...: in $client_ns if there is one; $client_pid is its process. Returns when it got something
# done.
start_client() {
    local name=$1
    shift
    ${client_ns:+ip netns exec "$client_ns"} "$@" >"$work/$name.json" 2>"$work/$name.log" &
    client_pid=$!
    started+=("$client_pid")
    echo "$client_pid" >"$work/$name.pid"
    echo "$1" >"$work/$name.program"
    wait_until 20 progressed "$name" 20
}

# start_counter NAME [THREADS [TIMEOUT_MS [FIRST_LINE]]]: on region "counters"; $counter_pid is its process
start_counter() {
    start_client "$1" "$counter" run counters "$work/$1.journal" "${@:2}"
    counter_pid=$client_pid
}

# start_mapper NAME PAGES [THINK_US [LOCAL_PAGES]]: on region "shared"; $mapper_pid is its process
start_mapper() {
    start_client "$1" "$mapper" run shared "$work/$1.journal" "${@:2}"
    mapper_pid=$client_pid
}

# shared_region PAGES: or skip, where nothing can be mapped
shared_region() {
    cxe region create --shared shared "$((4 * $1))K" >/dev/null
    cxe run --local 1M -- true 2>"$work/why" || skip "nothing can be mapped here: $(cat "$work/why")"
}

# field NAME KEY: of a client's journal, as it is now
field() {
    "$(cat "$work/$1.program")" show "$work/$1.journal" | $python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"
}

# progressed NAME COUNT: has it got so much done?
progressed() {
    [ -s "$work/$1.journal" ] && [ "$(field "$1" done)" -ge "$2" ]
}

# goes_on NAME: it gets things done from now on
goes_on() {
    wait_until 20 progressed "$1" $(($(field "$1" done) + 100))
}

# mark NAME: recovery is measured from here
mark() {
    local marks
    marks=$(field "$1" marks)
    kill -USR1 "$(cat "$work/$1.pid")"
    wait_until 20 marked "$1" "$marks"
}
marked() {
    [ "$(field "$1" marks)" -gt "$2" ]
}

# resumed NAME: every thread got something done since the mark
resumed() {
    $python -c 'import sys; sys.exit(not float(sys.argv[1]) >= 0)' "$(field "$1" resumed_ms)"
}

# end_client NAME PID: and nothing of what it saw may have been wrong
end_client() {
    kill -TERM "$2" 2>/dev/null || true
    wait "$2" || fail "$1: status $?, $(cat "$work/$1.json" "$work/$1.log")"
    forget "$2"
}

# unharmed NAME: it may have waited, and nothing else
unharmed() {
    [ "$(field "$1" unknown)" = 0 ] && [ "$(field "$1" refused)" = 0 ] && [ "$(field "$1" stale)" = 0 ] ||
        fail "$1 has more than waited: $("$(cat "$work/$1.program")" show "$work/$1.journal")"
}

# shared_sum NAME...: the word that all counters add to is what they say it is
shared_sum() {
    local name low=0 high=0 value
    for name in "$@"; do
        low=$((low + $(field "$name" shared_low)))
        high=$((high + $(field "$name" shared_high)))
    done
    value=$(($(${client_ns:+ip netns exec "$client_ns"} cxe fetch counters 0 add 0)))
    [ "$value" -ge "$low" ] && [ "$value" -le "$high" ] || fail "the sum is $value, not $low to $high"
}

# recovered WHAT MILLISECONDS BOUND: prints the measured time; the bound is generous, since machines are busy
recovered() {
    printf '%-60s %10.1f ms\n' "$1" "$2"
    $python -c 'import sys; ms, bound = map(float, sys.argv[1:]); sys.exit(not 0 <= ms <= bound)' "$2" "$3" ||
        fail "$1: $2 ms, at most $3 are right"
}

# cpu_ticks PID: what it used so far, in 1/100 s
cpu_ticks() {
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# sessions: open at the server, by its control socket
sessions() {
    curl -sf --max-time 5 --unix-socket "$work/fabricd.sock" http://localhost/metrics |
        awk '/^fabricd_sessions[ {]/ { n += $2 } END { print n + 0 }'
}

# long: is this a soak run, with time for what takes long?
long() {
    [ -n "${CXE_TEST_LONG:-}" ]
}
