#!/bin/bash
# memory.sh - whichever allocation fails, nothing crashes and nothing leaks: the client library says so, the daemon refuses
# to start, or goes on without
. "$(dirname "$0")/lib_faults.sh"

start_fabricd
cxe region create counters 1M >/dev/null
"$build/tests/faults.exhausted" counters || fail "the client library, out of memory: status $?"
stop_fabricd

# The daemon: start, two regions, requests, what operators ask, the end. All of its allocations take minutes: some, chosen
# by the seed, or all where there is time.
long && seconds=180 || seconds=9
$python - "$build" "$work" "$(free_port)" "$seed" "$seconds" <<'EOF'
import os, random, signal, subprocess, sys, time
build, work, port, seed, seconds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])
log, count_file, sock = work + "/fabricd.log", work + "/allocations", work + "/exhausted.sock"
client = dict(os.environ, CXE_SERVER="127.0.0.1:" + port, CXE_SERVER_KEY=work + "/server.key.pub")

def ask(*command):
    return subprocess.run(command, env=client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, timeout=30).returncode

def wait_started(daemon):
    until = time.monotonic() + 20
    while time.monotonic() < until and daemon.poll() is None:
        if b"serving" in open(log, "rb").read():
            return
        time.sleep(0.003)

# How it ends with allocation `call` failing: its exit status, and whether it started. Kills it if it does not end.
def run(call):
    with open(log, "wb") as out:
        daemon = subprocess.Popen(
            [build + "/bin/fabricd", "--listen", "127.0.0.1:" + port, "--workers", "1", "--pool", "1M", "--key",
             work + "/server.key", "--control", sock],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env=dict(os.environ, LD_PRELOAD=build + "/tests/libfail_alloc.so", FAIL_ALLOC_AT=str(call),
                     FAIL_ALLOC_COUNT=count_file))
    try:
        wait_started(daemon)
        started = daemon.poll() is None
        if started:
            for name in "one", "two":
                ask(build + "/bin/cxe", "region", "create", name, "16K", "--timeout", "2s")
            answered = ask(build + "/bin/cxe", "fetch", "two", "0", "add", "1", "--timeout", "2s")
            ask("curl", "-sf", "--max-time", "2", "--unix-socket", sock, "http://localhost/status")
            ask("curl", "-sf", "--max-time", "2", "--unix-socket", sock, "http://localhost/metrics")
            os.kill(daemon.pid, signal.SIGHUP)
            # Whatever failed is over: now it must do its work.
            again = ask(build + "/bin/cxe", "status", "--timeout", "10s")
            daemon.send_signal(signal.SIGTERM)
            if call == 0 and answered != 0:
                sys.exit("the requests fail without any fault")
            if again != 0 and daemon.poll() is None:
                return f"does not answer afterwards", started
        return daemon.wait(timeout=30), started
    finally:
        daemon.kill()
        daemon.wait()

status, started = run(0)
if status != 0 or not started:
    sys.exit(f"without any fault: status {status}\n" + open(log).read())
total, tried, refused = int(open(count_file).read()), 0, 0
calls = list(range(1, total + 1))
random.Random(seed).shuffle(calls)
end = time.monotonic() + seconds
for call in calls:
    if time.monotonic() > end:
        break
    status, started = run(call)
    tried += 1
    text = open(log).read()
    refused += not started
    if started and status == 0 or not started and status in (1, 2) and "error" in text:
        continue
    sys.exit(f"allocation {call} of {total} failed, and fabricd ended with {status}, "
             f"{'after' if started else 'before'} its start:\n{text}")
print(f"fabricd: {tried} of {total} allocations failed, one at a time; {refused} times it did not start, and said why")
EOF
