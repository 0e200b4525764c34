#!/bin/bash
# mtu.sh - the path's MTU shrinks and grows while a program works; also where long frames vanish without a word
. "$(dirname "$0")/lib_faults.sh"

two_hosts 9000
host_fabricd 10.77.0.1:7400
on_client cxe region create counters 64K >/dev/null
on_client cxe region create bulk 16M >/dev/null
random_file "$work/bulk" $((16 << 20))
start_counter one 2 60000
one=$counter_pid

# carries WHAT: bulk data goes both ways, over sessions that were opened before the change and after it
carries() {
    local from
    from=$(date +%s%3N)
    on_client cxe write bulk "$work/bulk" --timeout 20s || fail "$1: cannot write"
    on_client cxe read bulk -o "$work/back" --timeout 20s || fail "$1: cannot read"
    same "$work/bulk" "$work/back"
    recovered "$1: 16 MiB written and read" $(($(date +%s%3N) - from)) 20000
    goes_on one
}
# meanwhile WHAT COMMAND...: the change comes while a long write is on its way
meanwhile() {
    local writer what=$1 from
    shift
    on_client cxe write bulk "$work/bulk" --timeout 20s 2>"$work/write.err" &
    writer=$!
    sleep 0.01
    "$@"
    from=$(date +%s%3N)
    wait "$writer" || fail "$what: a write on its way failed: $(cat "$work/write.err")"
    recovered "$what: a write on its way ended" $(($(date +%s%3N) - from)) 20000
    carries "$what"
}
carries "MTU 9000"
meanwhile "MTU 1500" set_mtu 1500
meanwhile "MTU 9000 again" set_mtu 9000
meanwhile "MTU 1400" set_mtu 1400
meanwhile "MTU 576" set_mtu 576
meanwhile "MTU 9000 at last" set_mtu 9000

# hole WHAT HOST DEVICE: somewhere on the way there long frames vanish, and nobody says so
hole() {
    meanwhile "$1" lose_frames "$2" "$3" ingress 1514
    mend "$2" "$3"
}
hole "long requests vanish" "$server_ns" s0
hole "long answers vanish" "$client_ns" c0

end_client one "$one"
unharmed one
shared_sum one
