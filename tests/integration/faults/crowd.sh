#!/bin/bash
# crowd.sh - many clients map many pages of one region: the server's memory for who has what stays small, and goes back
. "$(dirname "$0")/lib_faults.sh"

pages=2048 clients=8
start_fabricd
shared_region $pages
resident() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$fabricd/status"
}
start_mapper first $pages 0 $((2 * pages))
first=$mapper_pid
wait_until 60 progressed first $pages # each page has been written once: the pool's memory is there
before=$(resident)
names=() pids=()
for i in $(seq $clients); do
    start_mapper "client$i" $pages 0 $((2 * pages))
    names+=("client$i") pids+=("$mapper_pid")
done
sleep 2
grown=$(($(resident) - before))
echo "$((clients + 1)) clients, $pages pages: fabricd grew by $grown KiB"
[ "$grown" -le $((16 * pages / 1024 + clients * 3 * 128 + 2048)) ] || fail "fabricd grew by $grown KiB"
total=0
for i in "${!names[@]}"; do
    end_client "${names[$i]}" "${pids[$i]}"
done
end_client first "$first"
for name in first "${names[@]}"; do
    [ "$(field "$name" fenced)" = 0 ] || fail "$name was fenced: $(cat "$work/$name.json")"
    total=$((total + $(field "$name" "done")))
done
sum=$("$mapper" sum shared $pages)
[ "$sum" = "$total" ] || fail "the words come to $sum, not $total"
stop_fabricd
