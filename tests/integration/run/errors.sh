#!/bin/bash
# errors.sh - cxe run: exit statuses, signals, and one clear sentence for whatever is wrong
. "$(dirname "$0")/../lib.sh"

# refuses STATUS WORDS ARGUMENT...: ends so, with one line that has the words, and runs nothing
refuses() {
    local expected=$1 words=$2 status=0
    shift 2
    timeout 30 cxe run "$@" >"$work/out.log" 2>"$work/err.log" || status=$?
    [ "$status" = "$expected" ] || fail "cxe run $*: status $status, not $expected"
    grep -q -- "$words" "$work/err.log" || fail "cxe run $*: no word of '$words'"
    [ "$(wc -l <"$work/err.log")" = 1 ] || fail "cxe run $*: more than one line"
    [ ! -s "$work/out.log" ] || fail "cxe run $*: something ran"
}

# Without a server.
CXE_SERVER=127.0.0.1:$(free_port) refuses 125 "fabricd" echo ran

start_fabricd
cd "$work"
refuses 2 "PROGRAM is missing"
refuses 2 "--local: '12Q'" --local 12Q echo ran
refuses 2 "too little" --local 4K echo ran
refuses 2 "--size: '5000'" --size 5000 echo ran
refuses 2 "--fault-mode: 'sideways'" --fault-mode sideways echo ran
refuses 2 "--gone: 'never'" --gone never echo ran
refuses 2 "not a time" --gone deadline=5 echo ran
refuses 2 "--allocator" --allocator best echo ran
refuses 125 "no room" --size 1T echo ran
refuses 127 "no program 'cxe-no-such-program'" cxe-no-such-program
refuses 127 "no program './nothing'" ./nothing
refuses 126 "not an executable file" /etc/passwd
refuses 126 "not an executable file" /etc
printf 'int main(void){return 0;}' >still.c
if "${CC:-cc}" -static -o still still.c 2>/dev/null; then
    refuses 125 "linked statically" ./still
fi
printf 'nonsense' >odd && chmod 755 odd
refuses 125 "neither a program" ./odd

# Statuses and signals are the program's.
for status in 0 1 42 255; do
    got=0
    cxe run sh -c "exit $status" || got=$?
    [ "$got" = "$status" ] || fail "exit $status became $got"
done
got=0
(cxe run sh -c 'kill -KILL $$') 2>/dev/null || got=$?
[ "$got" = 137 ] || fail "killed: status $got"
printf '#!/bin/sh -e\necho "script $1"\n' >script && chmod 755 script
[ "$(cxe run ./script one)" = "script one" ] || fail "a script"
[ "$(cxe run --local 1M -- echo -n --help)" = "--help" ] || fail "the program's options are its own"
[ "$(echo in | cxe run cat)" = in ] || fail "standard input"

# What is sent to us goes to it.
cxe run sh -c 'trap "echo caught; exit 9" USR1; echo ready; while :; do sleep 0.05; done' >trap.log &
pid=$!
started+=("$pid")
wait_until 10 grep -q ready trap.log
kill -USR1 "$pid"
got=0
wait "$pid" || got=$?
forget "$pid"
[ "$got" = 9 ] && grep -q caught trap.log || fail "SIGUSR1 did not arrive: status $got"

# A program that is killed leaves its figures, and nothing at the server.
cxe run --local 1M --stats killed.json $python -c 'b = bytearray(20 << 20)
for i in range(0, len(b), 4096): b[i] = 1
print("ready", flush=True)
import time; time.sleep(60)' >killed.log &
pid=$!
started+=("$pid")
wait_until 30 grep -q ready killed.log
sleep 0.5
kill -KILL "$(pgrep -P "$pid")"
wait "$pid" || true
forget "$pid"
$python -c 'import json
run = json.load(open("killed.json"))
assert run["signal"] == 9 and run["exit_status"] is None, run
assert run["used_bytes_most"] >= 20 << 20 and run["written_pages"] > 4000, run'
[ -z "$(cxe region list | grep run-)" ] || fail "a region stayed behind: $(cxe region list)"
stop_fabricd

# The server goes and does not come back: the program ends of SIGBUS after the time it was given, not before, and
# sees no zeros.
start_fabricd
cat >gone.py <<'EOF'
import sys
data = bytearray(b"\x5a" * (24 << 20))
print("ready", flush=True)
while True:
    for i in range(0, len(data), 4096):
        if data[i] != 0x5A:
            print("wrong", flush=True)
            sys.exit(1)
EOF
cxe run --local 1M --gone deadline=2s -- $python gone.py >gone.log 2>gone.err &
pid=$!
started+=("$pid")
wait_until 30 grep -q ready gone.log
kill -KILL "$fabricd"
wait "$fabricd" 2>/dev/null || true
forget "$fabricd"
from=$SECONDS
got=0
wait "$pid" 2>/dev/null || got=$?
forget "$pid"
[ "$got" = 135 ] || fail "the server went, and the program ended with status $got: $(cat gone.err)"
[ $((SECONDS - from)) -ge 1 ] && [ $((SECONDS - from)) -le 20 ] || fail "it took $((SECONDS - from)) s"
! grep -q wrong gone.log || fail "it saw something else than its data"
