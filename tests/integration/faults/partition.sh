#!/bin/bash
# partition.sh - one client is cut off from the server: the other does not notice, and after the healing both are right
. "$(dirname "$0")/lib_faults.sh"

two_hosts
other_ns=cxe-o-$$
ip netns add "$other_ns"
at_end+=("ip netns delete $other_ns")
ip link add s1 netns "$server_ns" type veth peer name c1 netns "$other_ns"
ip -n "$server_ns" address add 10.78.0.1/24 dev s1
ip -n "$other_ns" address add 10.78.0.2/24 dev c1
ip -n "$server_ns" link set s1 up
ip -n "$other_ns" link set c1 up
ip -n "$other_ns" route add 10.77.0.0/24 via 10.78.0.1

host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
start_counter near 2 60000
near=$counter_pid
client_ns=$other_ns start_counter far 2 60000 65
far=$counter_pid

for round in 1 2 3; do
    lose_frames "$server_ns" s1 egress
    [ "$round" = 1 ] || lose_frames "$server_ns" s1 ingress
    sleep 0.2
    before=$(field far done)
    sleep 1
    [ "$(field far done)" = "$before" ] || fail "cut off, and something was done"
    goes_on near
    mend "$server_ns" s1
    mark far
    wait_until 20 resumed far
    recovered "client cut off: until it went on" "$(field far resumed_ms)" 8000
done
goes_on near
end_client far "$far"
end_client near "$near"
unharmed far
unharmed near
recovered "the other client: its longest gap" "$(field near longest_gap_ms)" 1000
shared_sum near far
