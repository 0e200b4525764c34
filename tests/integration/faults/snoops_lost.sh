#!/bin/bash
# snoops_lost.sh - back-invalidates and their answers get lost, doubled, late and out of order: it takes longer, nobody is
# fenced for it, and not one of the additions is lost
. "$(dirname "$0")/lib_faults.sh"

printf 'lease: 10s\n' >"$work/fabricd.yaml"
start_fabricd --config "$work/fabricd.yaml"
pages=4
shared_region $pages
total=0

# through FAULTS...: two mappings and operations on one set of pages, the network of one like that
through() {
    local name
    networks=$((networks + 1))
    CXE_FAULT="$*,seed=$((seed + networks))" start_mapper "faulty$networks" $pages
    faulty=$mapper_pid
    start_mapper "plain$networks" $pages
    plain=$mapper_pid
    sleep 0.5
    "$mapper" sum shared $pages >/dev/null
    goes_on "faulty$networks"
    goes_on "plain$networks"
    end_client "faulty$networks" "$faulty"
    end_client "plain$networks" "$plain"
    for name in "faulty$networks" "plain$networks"; do
        [ "$(field "$name" fenced)" = 0 ] && [ "$(field "$name" sync_error)" = 0 ] || fail "$name: $(cat "$work/$name.json")"
        total=$((total + $(field "$name" "done")))
    done
    [ "$(field "plain$networks" snoops)" -gt 5 ] || fail "nothing was snooped: $(cat "$work/plain$networks.json")"
    recovered "$*: longest access of both, $(field "plain$networks" "done") and $(field "faulty$networks" "done") done" \
        "$(printf '%s\n' "$(field "plain$networks" longest_call_ms)" "$(field "faulty$networks" longest_call_ms)" | sort -n | tail -n 1)" 15000
    [ "$("$mapper" sum shared $pages)" = "$total" ] || fail "$*: the words come to $("$mapper" sum shared $pages), not $total"
}
networks=0
through drop=0%
through drop=10%
through drop=20%,dup=20%,reorder=20%
through delay=0..30ms,dup=20%
through longest=1300,drop=5%
stop_fabricd

# The server's side of the network.
start_fabricd --config "$work/fabricd.yaml" --fault "drop=10%,dup=20%,reorder=20%,seed=$seed"
shared_region $pages
total=0
through drop=0%
stop_fabricd
