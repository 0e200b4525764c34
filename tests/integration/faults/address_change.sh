#!/bin/bash
# address_change.sh - the client's address changes while it works: its sessions follow, and nothing is done twice
. "$(dirname "$0")/lib_faults.sh"

two_hosts
host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
start_counter one 4 60000
one=$counter_pid

# another WHAT COMMAND...: measured from the moment the command is over
another() {
    local what=$1
    shift
    "$@"
    mark one
    wait_until 20 resumed one
    recovered "$what: until every thread went on" "$(field one resumed_ms)" 8000
    goes_on one
}
# readdress OLD NEW SECONDS: without an address for so long
readdress() {
    ip -n "$client_ns" address delete "$1/24" dev c0
    sleep "$3"
    ip -n "$client_ns" address add "$2/24" dev c0
}
another "another address at once" readdress 10.77.0.2 10.77.0.3 0
another "back, after a second without any" readdress 10.77.0.3 10.77.0.2 1
both() {
    on_client sysctl -qw net.ipv4.conf.c0.promote_secondaries=1 # or the second would go with the first
    ip -n "$client_ns" address add 10.77.0.4/24 dev c0
    ip -n "$client_ns" address delete 10.77.0.2/24 dev c0
}
another "a second address, then the first goes" both
another "and another" readdress 10.77.0.4 10.77.0.5 0
[ "$(on_client ip -4 -o address show dev c0 | grep -c 'inet 10.77.0.5/')" = 1 ] || fail "the address did not change"

# A network without a way to the server: silence at a router is loss, a refusal of the kernel's own is no more.
roundabout() {
    ip -n "$client_ns" route add "$1" 10.77.0.1/32
    sleep 1
    ip -n "$client_ns" route delete "$1" 10.77.0.1/32
}
for kind in blackhole unreachable prohibit throw; do
    another "route '$kind' for a second" roundabout "$kind"
done
end_client one "$one"
unharmed one
shared_sum one
