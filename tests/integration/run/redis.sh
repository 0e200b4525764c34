#!/bin/bash
# redis.sh - Debian's redis-server on the pool: every value comes back, and what BGSAVE's child saves is the data of
# the moment it was forked
. "$(dirname "$0")/../lib.sh"
command -v redis-server >/dev/null || skip "redis-server is not installed"

start_fabricd --pool 400M
cd "$work"

# start_redis NAME PREFIX...: on a UNIX socket of its own
start_redis() {
    local name=$1
    shift
    mkdir -p "$name"
    "$@" redis-server --port 0 --unixsocket "$work/$name.sock" --dir "$work/$name" --save '' \
        --enable-debug-command yes >"$work/$name.log" 2>&1 &
    redis=$!
    started+=("$redis")
    wait_until 20 ask "$name" ping
}

ask() {
    local name=$1
    shift
    redis-cli -s "$work/$name.sock" "$@"
}

saved() {
    ask "$1" info persistence | tr -d '\r' | grep -qx 'rdb_bgsave_in_progress:0'
}

# What a server holds when its keys are these, and which bytes it saves.
fill() {
    ask "$1" debug populate 60000 key 700 >/dev/null
    ask "$1" debug digest
}

start_redis local env
expected=$(fill local)
ask local shutdown nosave
wait "$redis" || fail "redis-server itself ended with status $?"
forget "$redis"

start_redis remote cxe run --local 12M --size 200M --stats "$work/run.json" --
got=$(fill remote)
[ "$got" = "$expected" ] || fail "the digest is $got, without us $expected"

ask remote bgsave >/dev/null
for i in $(seq 0 97 59999); do          # while the child saves
    echo "set key:$i changed"
done | ask remote >/dev/null
wait_until 60 saved remote
ask remote info persistence | tr -d '\r' | grep -qx 'rdb_last_bgsave_status:ok' || fail "BGSAVE did not work"
changed=$(ask remote debug digest)
[ "$changed" != "$expected" ]
ask remote debug reload >/dev/null      # saves and loads everything by itself
[ "$(ask remote debug digest)" = "$changed" ] || fail "a reload changed the data"
cp remote/dump.rdb after.rdb
ask remote bgsave >/dev/null
wait_until 60 saved remote
ask remote shutdown nosave
wait "$redis" || fail "redis-server ended with status $?"
forget "$redis"

# A plain redis-server agrees with what was saved.
mkdir -p check
cp remote/dump.rdb check/
start_redis check env
[ "$(ask check debug digest)" = "$changed" ] || fail "what BGSAVE saved is not what was there"
ask check shutdown nosave
wait "$redis"
forget "$redis"

$python - "$work/run.json" <<'EOF'
import json, sys
run = json.load(open(sys.argv[1]))
used, local = run["used_bytes_most"], run["processes"][0]["local_bytes"]
print(f"{used >> 20} MiB on the pool, {local >> 20} MiB local, {run['faults']} faults, {run['elapsed_ns'] / 1e9:.1f} s")
assert run["fallback_count"] == 0 and run["poisoned_pages"] == 0 and run["exit_status"] == 0
assert used >= 4 * local and run["fetched_pages"] > 0
EOF
stop_fabricd
