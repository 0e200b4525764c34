#!/bin/bash
# server_stopped.sh - a server that is stopped and goes on: sessions resume where they were, nothing is lost or unknown
. "$(dirname "$0")/lib_faults.sh"

start_fabricd
cxe region create counters 64K >/dev/null
start_counter one 4 60000
one=$counter_pid

# stop_for SECONDS
stop_for() {
    kill -STOP "$fabricd"
    sleep "$1"
    kill -CONT "$fabricd"
    mark one
    wait_until 20 resumed one
    recovered "server stopped for $1 s: until every thread went on" "$(field one resumed_ms)" 5000
}
stop_for 0.2
stop_for 1
goes_on one
stop_for 2
if long; then
    stop_for 10
fi
goes_on one
end_client one "$one"
unharmed one
shared_sum one
stop_fabricd
