#!/bin/bash
# refusals.sh - a wrong address, key, option or configuration gets one clear sentence that names it, a failure, and nothing half-done
. "$(dirname "$0")/lib.sh"

cases=0 wrong=0

complain() {
    echo "WRONG: $*"
    wrong=$((wrong + 1))
}

# refuses WORD COMMAND...: it fails, on its own and soon, with two lines at most of standard error, WORD in them.
refuses() {
    local word=$1 status=0
    shift
    timeout 20 "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    cases=$((cases + 1))
    [ "$status" != 0 ] || complain "accepted: $*"
    [ "$status" -lt 124 ] || complain "status $status of: $*"
    [ "$(wc -l <"$work/err")" -le 2 ] || complain "more than two lines from: $* ($(cat "$work/err"))"
    grep -qF -- "$word" "$work/err" || complain "'$word' is not in what $* says: $(cat "$work/err")"
}

start_fabricd

# addresses, transports, keys
refuses 'host:port:more' cxe status --server host:port:more
refuses 99999 cxe status --server 127.0.0.1:99999
refuses no-such-host.invalid cxe status --server no-such-host.invalid
refuses carrier-pigeon cxe status --transport carrier-pigeon
refuses drop=200% cxe status --fault drop=200%
refuses "$work/absent.key" cxe status --key "$work/absent.key"
echo short >"$work/short.key"
chmod 600 "$work/short.key"
refuses "$work/short.key" cxe status --key "$work/short.key"
cp "$work/server.key" "$work/loose.key"
chmod 644 "$work/loose.key"
refuses "$work/loose.key" cxe status --key "$work/loose.key"
ln -s "$work/server.key" "$work/link.key"
refuses "$work/link.key" cxe status --key "$work/link.key"
refuses not-a-key cxe status --server-key not-a-key
refuses "$work/server.key" cxe keygen "$work/server.key"
refuses 127.0.0.1:1 cxe status --server 127.0.0.1:1 --timeout 500ms

# the daemon
refuses --pool fabricd --pool 64Q
refuses --nonsense fabricd --nonsense
refuses surplus fabricd surplus
refuses 0.0.0.0 fabricd --listen 0.0.0.0:0 --pool 1M --workers 1
refuses "${CXE_SERVER#*:}" fabricd --listen "$CXE_SERVER" --key "$work/server.key" --pool 1M --control "$work/other.sock"
refuses "$work/loose.key" fabricd --key "$work/loose.key" --pool 1M --listen 127.0.0.1:0 --workers 1
refuses "$work/absent.yaml" fabricd --config "$work/absent.yaml"
printf 'pool:\n  size: 1M\n  sise: 2M\n' >"$work/bad.yaml"
refuses 'bad.yaml:3' fabricd --config "$work/bad.yaml"
printf 'pool:\n  size: minus one\n' >"$work/bad.yaml"
refuses 'bad.yaml:2' fabricd --config "$work/bad.yaml"
printf 'pool: [\n' >"$work/bad.yaml"
refuses bad.yaml fabricd --config "$work/bad.yaml"
head -c 4096 /dev/zero >"$work/bad.yaml"
refuses bad.yaml fabricd --config "$work/bad.yaml"
refuses 'pool' fabricd --pool 8T --listen 127.0.0.1:0 --workers 1

cxe status >/dev/null || fail "the daemon did not outlive all this"
stop_fabricd
echo "$cases refusals, $wrong wrong"
[ "$wrong" = 0 ]
