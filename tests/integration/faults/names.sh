#!/bin/bash
# names.sh - hosts without IPv4, names that do not resolve or point elsewhere, ports in use or just given back
. "$(dirname "$0")/lib_faults.sh"

two_hosts
ip -n "$server_ns" address delete 10.77.0.1/24 dev s0
ip -n "$client_ns" address delete 10.77.0.2/24 dev c0
host_fabricd "[fd77::1]:7400"
on_client cxe region create counters 64K >/dev/null
start_counter one 2 60000
end_client one "$counter_pid"
shared_sum one
unharmed one

# complains WORDS COMMAND...: it fails in time, and its one line has the words
complains() {
    local words=$1 status=0
    shift
    timeout 20 ip netns exec "$client_ns" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" != 0 ] && [ "$status" -lt 124 ] || fail "status $status of: $*"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "more than one line of: $* ($(cat "$work/err"))"
    grep -qF -- "$words" "$work/err" || fail "'$words' is not in: $(cat "$work/err")"
    cat "$work/err"
}
complains "no host of the name" cxe status --server nobody.invalid --timeout 2s
complains "10.77.0.1:7400" cxe status --server 10.77.0.1:7400 --timeout 1s # no way there
complains "fd77::1" cxe status --server "[fd77::1]:7401" --timeout 1s      # nothing listens
complains "fd77::9" cxe status --server "[fd77::9]:7400" --timeout 1s      # no such host

# A name that points to another machine is found by the key, not believed.
cxe keygen "$work/other.key" >/dev/null
complains "fd77::1" cxe status --server-key "$work/other.key.pub" --timeout 1s

# Given back a moment ago: the port can be had at once, again and again.
for i in 1 2 3; do
    kill -TERM "$fabricd"
    wait "$fabricd" || fail "fabricd ended with status $?"
    forget "$fabricd"
    host_fabricd "[fd77::1]:7400"
done
# And over TCP, which keeps ports of the past for a while.
kill -TERM "$fabricd"
wait "$fabricd" || fail "fabricd ended with status $?"
forget "$fabricd"
export CXE_TRANSPORT=ofi
for i in 1 2; do
    host_fabricd "[fd77::1]:7400" --transport ofi
    on_client cxe region create counters 64K >/dev/null
    start_counter tcp 2 60000
    kill -KILL "$fabricd" # the server's side ends first, and has the port in TIME_WAIT
    wait "$fabricd" || true
    forget "$fabricd"
    kill -KILL "$counter_pid"
    wait "$counter_pid" || true
    forget "$counter_pid"
done
