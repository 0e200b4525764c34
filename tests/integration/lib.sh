# lib.sh - what the integration scripts share; sourced, never run
#
# A script that sources this has: a folder of its own ($work), a daemon when it asks for one (start_fabricd),
# and an end at which everything it started is gone. Exit status 77 says "skipped"; the last line says why.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${CXE_BUILD:-$root/build/release}
bin=$build/bin
python=/usr/bin/python3
export LC_ALL=C.UTF-8 PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin"
for name in ${!CXE_*}; do
    [ "${name#CXE_TEST_}" != "$name" ] || unset "$name" # the seed, and whether there is time
done
seed=${CXE_TEST_SEED:-$RANDOM}

work=$(mktemp -d "/tmp/cxe-test-$(basename "$0" .sh).XXXXXX")
export XDG_RUNTIME_DIR=$work
started=()      # processes to end, by number
at_end=()       # commands to run then
failure=        # why, if it comes to that

finish() {
    local status=$? command pid
    trap - EXIT
    for command in "${at_end[@]}"; do
        eval "$command" || true
    done
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${started[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        tail -n 15 "$work"/*.log 2>/dev/null || true
        echo "seed $seed, exit status $status; $failure"
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

skip() {
    echo "$*"
    exit 77
}

fail() {
    failure="FAILED: $*" # again at the end, below the logs; a subshell has only this line
    echo "$failure" >&2
    exit 1
}

# wait_until SECONDS COMMAND...
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >"$work/wait.out" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "waited in vain for: $* ($(tail -n 1 "$work/wait.out"))"
        sleep 0.05
    done
}

free_port() {
    # Not one of the kernel's choice: while a daemon is being started again, another program's socket could get it.
    $python - <<'END'
import random, socket
while True:
    port = random.SystemRandom().randrange(15000, 32000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        try:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            break
        except OSError:
            pass
print(port)
END
}

# forget PID: it is gone, and its number may be somebody else's soon.
forget() {
    local pid kept=()
    for pid in "${started[@]}"; do
        [ "$pid" = "$1" ] || kept+=("$pid")
    done
    started=("${kept[@]}")
}

# start_fabricd [OPTION...]: on loopback, with a key of its own; $fabricd is its process, and cxe finds it.
start_fabricd() {
    local port
    port=$(free_port)
    [ -e "$work/server.key" ] || cxe keygen "$work/server.key" >/dev/null
    export CXE_SERVER=127.0.0.1:$port CXE_SERVER_KEY=$work/server.key.pub
    fabricd --listen "$CXE_SERVER" --key "$work/server.key" --control "$work/fabricd.sock" --pool 256M "$@" \
        >>"$work/fabricd.log" 2>&1 &
    fabricd=$!
    started+=("$fabricd")
    wait_until 20 cxe status
}

# stop_fabricd: and it must end well.
stop_fabricd() {
    kill -TERM "$fabricd"
    wait "$fabricd" || fail "fabricd ended with status $?"
    forget "$fabricd"
}

# random_file FILE BYTES: reproducible from the seed
random_file() {
    $python -c 'import random, sys; sys.stdout.buffer.write(random.Random(sys.argv[1]).randbytes(int(sys.argv[2])))' \
        "$seed" "$2" >"$1"
}

same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}
