#!/bin/bash
# holder_stopped.sh - a client that owns pages of a shared region stops: after its lease others go on; when it continues,
# what it stored last is refused, its mapping says so, and nobody ever sees a value go backwards
. "$(dirname "$0")/lib_faults.sh"

lease=500
printf 'lease: %sms\n' "$lease" >"$work/fabricd.yaml"
start_fabricd --config "$work/fabricd.yaml"
shared_region 4
start_mapper stopper 4
stopper=$mapper_pid
start_mapper other 4
other=$mapper_pid
goes_on stopper
goes_on other

# stop_for SECONDS: it owns pages nearly always, since both write all the time
stop_for() {
    kill -STOP "$stopper"
    mark other
    goes_on other
    sleep "$1"
    recovered "holder stopped, lease $lease ms: until another went on" "$(field other resumed_ms)" 10000
    kill -CONT "$stopper"
    mark stopper
    wait_until 20 resumed stopper
    recovered "the holder continues after $1 s: until it went on" "$(field stopper resumed_ms)" 10000
    goes_on stopper
    goes_on other
}
stop_for 0.1
stop_for 2
stop_for 1
long && stop_for 10
recovered "the other's longest access" "$(field other longest_call_ms)" 15000
end_client stopper "$stopper"
end_client other "$other"
cat "$work/stopper.json" "$work/other.json"
[ "$(field other fenced)" = 0 ] && [ "$(field other poisoned)" = 0 ] || fail "the one that never stopped was fenced"
[ "$(field stopper fenced)" -ge 2 ] || fail "it stopped for longer than its lease, and was not fenced"
[ $(($(field stopper poisoned) + $(field stopper lost_syncs))) -ge 1 ] ||
    fail "it was fenced while it owned pages, and nothing said so"
sum=$("$mapper" sum shared 4)
[ "$sum" -ge "$(field other done)" ] && [ "$sum" -le $(($(field other done) + $(field stopper done))) ] ||
    fail "the words come to $sum"
stop_fabricd
