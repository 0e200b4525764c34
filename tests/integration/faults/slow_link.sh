#!/bin/bash
# slow_link.sh - the bandwidth falls to 1 Mbit/s: what is small goes on, and what is large arrives in the end
. "$(dirname "$0")/lib_faults.sh"

two_hosts
host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
on_client cxe region create bulk 1M >/dev/null
random_file "$work/bulk" 400000
start_counter one 2 60000
one=$counter_pid

# slow RATE: both ways
slow() {
    tc -n "$server_ns" qdisc add dev s0 root tbf rate "$1" burst 3k latency 400ms 2>"$work/tc.log" ||
        skip "no token buckets here: $(head -n 1 "$work/tc.log")"
    tc -n "$client_ns" qdisc add dev c0 root tbf rate "$1" burst 3k latency 400ms
}
slow 1mbit
mark one
wait_until 20 resumed one
recovered "1 Mbit/s: until every thread went on" "$(field one resumed_ms)" 5000
from=$(date +%s%3N)
on_client cxe write bulk "$work/bulk" --timeout 60s
recovered "400 kB written over 1 Mbit/s, 3200 ms of line time" $(($(date +%s%3N) - from)) 30000
goes_on one
from=$(date +%s%3N)
on_client cxe read bulk --length 399936 -o "$work/back" --timeout 60s
recovered "and read" $(($(date +%s%3N) - from)) 30000
cmp -n 399936 "$work/bulk" "$work/back" || fail "what came back differs"
goes_on one
tc -n "$server_ns" qdisc delete dev s0 root
tc -n "$client_ns" qdisc delete dev c0 root
mark one
wait_until 20 resumed one
recovered "fast again: until every thread went on" "$(field one resumed_ms)" 5000
end_client one "$one"
unharmed one
shared_sum one
