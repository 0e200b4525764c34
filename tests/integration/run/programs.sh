#!/bin/bash
# programs.sh - GNU sort, sqlite3 and python3 as Debian has them: the same bytes as a local run, with local memory
# for a quarter of what they use
. "$(dirname "$0")/../lib.sh"
here=$root/tests/integration/run

start_fabricd --pool 512M
cd "$work"

# same_as_local NAME LOCAL PROGRAM...: standard input is $work/NAME.in
same_as_local() {
    local name=$1 quarter=$2
    shift 2
    "$@" <"$name.in" >"$name.local" 2>"$name.local.err" || fail "$name fails without us"
    timeout 240 cxe run --local "$quarter" --size 400M --stats "$name.json" -- "$@" \
        <"$name.in" >"$name.remote" 2>"$name.remote.err" || { cat "$name.remote.err"; fail "$name: status $?"; }
    same "$name.local" "$name.remote"
    same "$name.local.err" "$name.remote.err"
    $python - "$name" "$name.json" <<'EOF'
import json, sys
name, run = sys.argv[1], json.load(open(sys.argv[2]))
used, local = run["used_bytes_most"], run["processes"][0]["local_bytes"]
print(f"{name}: {used >> 20} MiB on the pool, {local >> 20} MiB local, {run['faults']} faults, "
      f"{run['fetched_pages']} pages fetched, {run['written_pages']} written back, {run['elapsed_ns'] / 1e9:.1f} s")
assert run["fallback_count"] == 0, "some of its memory was local"
assert used >= 4 * local, f"local memory of {local} is more than a quarter of {used}"
assert run["fetched_pages"] > local // 4096 and run["written_pages"] > 0, "it hardly used the pool"
assert run["exit_status"] == 0 and run["poisoned_pages"] == 0
EOF
}

$python - "$seed" >sort.in <<'EOF'
import random, sys
source = random.Random(sys.argv[1])
for _ in range(250000):
    print(source.randrange(1 << 40), "x" * source.randrange(60))
EOF
same_as_local sort 8M sort -S 48M --parallel=2

cat >sqlite3.in <<'EOF'
create table t(a integer primary key, b text, c blob);
with recursive n(x) as (select 1 union all select x + 1 from n where x < 60000)
  insert into t select x, printf('%d-%s', x * 7919 % 1000003, hex(x * x)), zeroblob(x % 300) from n;
create index tb on t(b);
select count(*), sum(length(b)), sum(length(c)) from t;
update t set b = b || 'x' where a % 3 = 0;
delete from t where a % 7 = 0;
select a, b from t where b like '9%' order by b desc limit 200;
select b from t order by b limit 50 offset 30000;
select sum(a * length(b)) from t;
pragma integrity_check;
EOF
same_as_local sqlite3 6M sqlite3 :memory:

cp "$here/objects.py" python3.in
same_as_local python3 16M $python -

stop_fabricd
