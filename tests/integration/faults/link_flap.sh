#!/bin/bash
# link_flap.sh - a cable that is pulled and put back: operations wait and go on; with little patience they time out, and
# say truly what was done
. "$(dirname "$0")/lib_faults.sh"

two_hosts
host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
start_counter patient 4 60000
patient=$counter_pid

# flap SECONDS NAMESPACE DEVICE
flap() {
    ip -n "$2" link set "$3" down
    sleep "$1"
    ip -n "$2" link set "$3" up
    mark patient
    wait_until 20 resumed patient
    recovered "link of $3 down for $1 s: until every thread went on" "$(field patient resumed_ms)" 8000
}
flap 0.1 "$client_ns" c0
flap 0.5 "$server_ns" s0
flap 2 "$client_ns" c0
for i in $(seq 10); do # flapping without a pause
    ip -n "$client_ns" link set c0 down
    ip -n "$client_ns" link set c0 up
done
goes_on patient
if long; then
    flap 10 "$server_ns" s0
    flap 40 "$client_ns" c0
fi
end_client patient "$patient"
unharmed patient

# Half a second of patience, two seconds without a link.
start_counter hasty 4 500 65
hasty=$counter_pid
ip -n "$client_ns" link set c0 down
sleep 2
ip -n "$client_ns" link set c0 up
mark hasty
wait_until 20 resumed hasty
recovered "link down beyond the client's timeout: until it went on" "$(field hasty resumed_ms)" 8000
end_client hasty "$hasty"
[ "$(field hasty unknown)" -gt 0 ] || fail "no outcome was unknown, so nothing timed out: $(cat "$work/hasty.json")"
recovered "its longest call, of 500 ms allowed" "$(field hasty longest_call_ms)" 5000
shared_sum patient hasty
