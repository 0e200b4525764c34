#!/bin/bash
# arguments.sh - a wrong argument gets one sentence that names it, status 2, and nothing happens
. "$(dirname "$0")/../lib.sh"

# refused PATTERN ARGUMENT...: exit status 2, nothing on standard output, one line that matches
refused() {
    local pattern=$1 status=0
    shift
    cxe "$@" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = 2 ] || fail "cxe $*: status $status, expected 2: $(cat "$work/err")"
    [ ! -s "$work/out" ] || fail "cxe $*: something on standard output"
    grep -Eq -- "$pattern" "$work/err" || fail "cxe $*: '$(cat "$work/err")' does not match '$pattern'"
}

# one_line PATTERN ARGUMENT...: the same, in exactly one line
one_line() {
    refused "$@"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "cxe ${*:2}: more than one line: $(cat "$work/err")"
}

start_fabricd

one_line 'COMMAND is missing'
one_line "'frob' is not a command" frob
one_line "'frob' is not a command" region frob
refused "unrecognized option '--frob'" region list --frob
refused "requires an argument" --server
one_line '^cxe: region create: NAME is missing' region create
one_line 'SIZE is missing' region create a
one_line "'b' is one argument too many" region create a 4096 b
for size in 64Q 1.5M -1 '' ' 1' 0x1000 99999999999999999999 16777216T 1MiBB; do
    one_line "SIZE: '$size' is" region create a -- "$size"
done
one_line "SIZE: '0' is not a multiple of 4096" region create a 0
one_line "SIZE: '100' is not a multiple of 4096" region create a 100
one_line "NAME: 'a b' is not a name" region create 'a b' 4096
one_line "NAME: '' is not a name" region create '' 4096
one_line "NAME: 'x{64}' is not a name" region create "$(printf 'x%.0s' $(seq 64))" 4096
for time in 5 5h -1s 1.5s ''; do
    one_line "--timeout: '$time' is not a time" --timeout "$time" status
done
one_line "--timeout: '0s' leaves no time" --timeout 0s status
one_line "--transport: 'carrier' is neither" --transport carrier status
one_line "--transport: 'ofi:' is neither" status --transport ofi:
one_line "--encryption: 'maybe' is neither on nor off" --encryption maybe status
one_line 'server' --server 'a:b:c:d:::' status
one_line "--offset: '0xzz' is not an offset" read --offset 0xzz a
one_line "--length: '-5' is not an offset" read --length=-5 a
one_line '--json: standard output is for the data' --json read a
one_line "--width: '5' is not 4, 8 or 16" cas a 0 --width 5 1 2
one_line "--width: '0' is not a whole number" cas a 0 --width 0 1 2
one_line "--width: '16' is for cas" fetch a 0 --width 16 add 1
one_line "OFFSET: '4' is not a multiple" cas a 4 1 2
one_line "EXPECTED: '0x' is not a number" cas a 0 0x 2
one_line "DESIRED: 'two' is not a number" cas a 0 1 two
one_line "DESIRED: '4294967296' does not fit 4 bytes" cas a 0 --width 4 1 4294967296
one_line "DESIRED: '340282366920938463463374607431768211456' does not fit 16" \
    cas a 0 --width 16 1 340282366920938463463374607431768211456
one_line "OPERATION: 'nand' is not add" fetch a 0 nand 1
one_line "--count: '0' is not a whole number" top -n 0
one_line "--interval: '1ms' is not a time from 10ms" top --interval 1ms
one_line "--seconds: '0' is not a whole number" bench line --seconds 0
one_line "--only: 'eth' is not eth.plain" bench line --only eth
one_line "--only: it does not go with --server" bench line --only eth.plain
one_line "--depth: '0' is not" bench page --depth 0
one_line "--pin: there is no CPU 1023" bench line --pin 1023

[ -z "$(cxe region list | tail -n +2)" ] || fail "a refused command made a region"

# With --json an error is one object on standard error.
status=0
cxe --json region create a 64Q 2>"$work/err" || status=$?
[ "$status" = 2 ] || fail "with --json: status $status"
$python - "$work/err" <<'END'
import json, sys
error = json.load(open(sys.argv[1]))
assert error == {"command": "cxe region create", "error": "USAGE",
                 "message": "SIZE: '64Q' is not a size such as 64M"}, error
END

# A failure is status 1, one line, and names the thing.
failed() {
    local pattern=$1 status=0
    shift
    cxe "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" = 1 ] || fail "cxe $*: status $status, expected 1: $(cat "$work/err")"
    [ ! -s "$work/out" ] || fail "cxe $*: something on standard output"
    [ "$(wc -l <"$work/err")" = 1 ] || fail "cxe $*: not one line: $(cat "$work/err")"
    grep -Eq -- "$pattern" "$work/err" || fail "cxe $*: '$(cat "$work/err")' does not match '$pattern'"
}
failed "no figure's name contains 'frob'" bench line --json - --figure frob
failed "'none'" region stat none
failed "'none'" region rm none
failed "'none'" read none
failed "'none'" cas none 0 1 2
failed "'$work/missing'" write none "$work/missing"
failed '127.0.0.1:9' --server 127.0.0.1:9 --timeout 1s status
failed 'missing' --key "$work/missing" status
cp "$work/server.key" "$work/loose.key"
chmod 644 "$work/loose.key"
failed 'loose.key' --key "$work/loose.key" status
failed 'server.key' keygen "$work/server.key"

# Options stand before or behind the command; what is given overrides what the environment says.
cxe --json status >"$work/a"
cxe status --json >"$work/b"
CXE_SERVER=127.0.0.1:9 cxe --server "$CXE_SERVER" status >/dev/null
$python -c 'import json, sys; [json.load(open(name)) for name in sys.argv[1:]]' "$work/a" "$work/b"
