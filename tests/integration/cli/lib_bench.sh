# lib_bench.sh - what the scripts that measure share; sourced, never run
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# measure NAME WORD...: cxe bench, its figures to $work/NAME.json and its text to $work/NAME.txt.
# Where something else has the processor for long enough, a change may end as unknown: that is no figure.
measure() {
    local name=$1 tries=0 status=3
    shift
    while [ "$status" = 3 ] && [ $((tries += 1)) -le 5 ]; do
        status=0
        cxe bench "$@" --seconds 1 --json "$work/$name.json" >"$work/$name.txt" || status=$?
    done
    [ "$status" = 0 ] || fail "cxe bench $*: exit status $status"
}
