#!/bin/bash
# mechanisms.sh - one mechanism of `cxe run` after the other, in small programs, in both fault modes
. "$(dirname "$0")/../lib.sh"
here=$root/tests/integration/run

start_fabricd --pool 512M
cd "$work"
for program in calls signals memory forks; do
    "${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -o "$program" "$here/$program.c" -lpthread
done

# run NAME OPTIONS... -- PROGRAM...: it says "fine", within a minute
run() {
    local name=$1
    shift
    timeout 60 cxe run "$@" >"$work/$name.log" 2>&1 || fail "$name ended with status $?"
    grep -qx fine "$work/$name.log" || fail "$name did not say that all is fine"
}

modes=inline
# A thread can serve the kernel's faults only where userfaultfd is allowed to see them.
if timeout 20 cxe run --fault-mode thread -- true 2>/dev/null; then
    modes="inline thread"
else
    echo "no thread mode: userfaultfd may not serve faults of the kernel here"
fi
for mode in $modes; do
    run "calls-$mode" --fault-mode "$mode" --local 4M --size 96M -- ./calls
    run "signals-$mode" --fault-mode "$mode" --local 1M --size 32M -- ./signals
    run "memory-$mode" --fault-mode "$mode" --local 1M --size 64M -- ./memory
    run "forks-$mode" --fault-mode "$mode" --local 3M --size 64M -- ./forks
done
run full --local 1M --size 16M -- ./memory full
run strict --local 1M --size 16M --strict -- ./memory strict

# An ordinary user has neither CAP_SYS_PTRACE nor CAP_SYS_ADMIN; his programs cannot gain rights any more.
as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all"
if [ "$(id -u)" != 0 ] || ! $as_nobody test -x "$bin/cxe"; then
    echo "an ordinary user's program was not tried: that takes root, and a build that others can reach"
else
    chmod 711 "$work"
    mkdir -m 777 user
    cp calls user/
    (cd user && $as_nobody \
        timeout 60 cxe run --local 4M --size 96M -- ./calls) >"$work/user.log" 2>&1 || fail "an ordinary user: $?"
    grep -qx fine "$work/user.log"
fi

# Nothing stays behind at the server.
wait_until 10 sh -c '[ "$(cxe region list --json | tr -d " \n")" = "[]" ] || [ -z "$(cxe region list | grep run-)" ]'
stop_fabricd

# Over libfabric: a thread serves the faults, the child of a fork connects anew.
[ "$modes" = "inline thread" ] || exit 0
export CXE_TRANSPORT=ofi:tcp
start_fabricd --transport ofi:tcp --pool 512M
for program in calls memory forks; do
    run "$program-ofi" --local 4M --size 96M -- ./$program
done
stop_fabricd
