#!/bin/bash
# one_way.sh - a network that carries one direction only, then the other, then neither: operations wait and go on
. "$(dirname "$0")/lib_faults.sh"

two_hosts
host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
start_counter one 4 60000
one=$counter_pid

# lose SECONDS WHAT DIRECTION...
lose() {
    local seconds=$1 what=$2 before
    shift 2
    for direction; do
        lose_frames "$server_ns" s0 "$direction"
    done
    sleep 0.2
    before=$(field one done)
    sleep "$seconds"
    [ "$(field one done)" = "$before" ] || fail "the network is cut, and something was done"
    mend "$server_ns" s0
    mark one
    wait_until 20 resumed one
    recovered "$what lost for $seconds s: until every thread went on" "$(field one resumed_ms)" 8000
    goes_on one
}
lose 2 "requests" ingress
lose 2 "answers" egress
lose 2 "everything" ingress egress
if long; then
    lose 20 "answers" egress
fi
end_client one "$one"
unharmed one
shared_sum one
