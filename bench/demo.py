#!/usr/bin/python3
"""demo.py - Debian's redis-server on remote memory, every value checked, and the same all-local beside it

Starts fabricd on loopback (encrypted), runs an unmodified redis-server under `cxe run` with little local
memory, fills it over its own protocol, reads every key back in another order and compares each value with
what its seed gives. Exit status 0 only if all values were right.
"""
import argparse
import json
import hashlib
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

from harness.processes import Pool, Processes, cpu_seconds, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[1]
VALUE_BYTES = (4 << 10, 32 << 10)
BATCH_KEYS = 64


# ---- values: number i is always the same bytes, whoever asks ----


def value_of(number):
    source = random.Random(number)
    return source.randbytes(source.randrange(*VALUE_BYTES))


def keys_for(total_bytes):
    """Numbers whose values add up to total_bytes at least, and their real sum."""
    count, value_bytes = 0, 0
    while value_bytes < total_bytes:
        value_bytes += random.Random(count).randrange(*VALUE_BYTES)
        count += 1
    return count, value_bytes


# ---- redis's protocol, as much of it as the demo speaks ----


class Redis:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.reader = self.socket.makefile("rb", buffering=1 << 20)

    def send(self, commands):
        parts = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            for word in command:
                parts += (b"$%d\r\n" % len(word), word, b"\r\n")
        self.socket.sendall(b"".join(parts))

    def reply(self):
        line = self.reader.readline()
        if line[:1] == b"$":
            length = int(line[1:])
            return self.reader.read(length + 2)[:-2] if length >= 0 else None
        if line[:1] in b"+:" and line:
            return line[1:-2]
        raise RuntimeError(f"redis said {line!r}")

    def call(self, *words):
        self.send([words])
        return self.reply()

    def close(self):
        self.socket.close()


# ---- progress ----


class Progress:
    """A line that is rewritten on a terminal, a line each tenth elsewhere. Its clock runs while redis is asked,
    not while this program makes or compares values."""

    def __init__(self, title, total_bytes):
        self.title, self.total_bytes, self.done_bytes = title, total_bytes, 0
        self.seconds, self.shown = 0.0, 0

    def ask(self, redis, commands):
        start = time.monotonic()
        redis.send(commands)
        replies = [redis.reply() for _ in commands]
        self.seconds += time.monotonic() - start
        return replies

    def add(self, amount):
        self.done_bytes += amount
        percent = 100 * self.done_bytes // self.total_bytes
        step = 1 if sys.stdout.isatty() else 10
        if percent // step != self.shown:
            self.shown = percent // step
            end = "\r" if sys.stdout.isatty() and percent < 100 else "\n"
            print(f"  {self.title:<22}{percent:3d} %  {self.rate():7.1f} MB/s", end=end, flush=True)

    def rate(self):
        return self.done_bytes / 1e6 / max(self.seconds, 1e-9)


# ---- the work ----


def batches(numbers):
    for first in range(0, len(numbers), BATCH_KEYS):
        yield numbers[first:first + BATCH_KEYS]


def fill(redis, count, total_bytes, title):
    progress = Progress(title, total_bytes)
    for numbers in batches(range(count)):
        values = [value_of(number) for number in numbers]
        replies = progress.ask(redis, [(b"SET", b"key:%d" % n, v) for n, v in zip(numbers, values)])
        if any(reply != b"OK" for reply in replies):
            raise RuntimeError("redis refused a value")
        progress.add(sum(map(len, values)))
    return progress


def check(redis, count, total_bytes, title):
    """Reads every key, in an order that has nothing to do with the filling's, and compares the SHA-256 of each
    value with that of what its seed gives. Returns how many were wrong."""
    progress, wrong = Progress(title, total_bytes), 0
    numbers = list(range(count))
    random.Random("order").shuffle(numbers)
    for some in batches(numbers):
        replies = progress.ask(redis, [(b"GET", b"key:%d" % n) for n in some])
        for number, value in zip(some, replies):
            expected = value_of(number)
            wrong += hashlib.sha256(value or b"").digest() != hashlib.sha256(expected).digest()
            progress.add(len(expected))
    return progress, wrong


# ---- one run of redis-server ----


class Run:
    """What one redis-server took: seconds and rates of filling and of checking."""

    def __init__(self, processes, folder, name, prefix, count, total_bytes):
        path, log = folder / f"{name}.sock", folder / f"{name}.log"
        command = ["/usr/bin/redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                   "--appendonly", "no", "--dir", folder]
        self.process = processes.start([*prefix, *command], log)
        wait_for(f"redis-server ({name})", self.process, log, path.exists)
        redis = Redis(path)
        self.fill = fill(redis, count, total_bytes, f"{name}: filling")
        self.check, self.wrong = check(redis, count, total_bytes, f"{name}: checking")
        redis.close()
        self.status = processes.stop(self.process)
        if self.status != 0:
            raise RuntimeError(f"redis-server ({name}) ended with status {self.status}:\n{log.read_text()}")


def hit_ratio(stats, value_bytes):
    """Values are written once and read once: of the pages they span, how many had to be waited for?"""
    pages = 2 * value_bytes / 4096
    return 1 - min(1, (stats["fetched_pages"] - stats["prefetched_pages"]) / pages)


def human_bytes(count):
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1000


def report(stats, before, after, server_cpu_s, local, remote):
    fetched, written, redis = stats["fetched_pages"], stats["written_pages"], stats["processes"][0]
    print(f"""
  pages fetched         {fetched}, of which {stats['prefetched_pages']} ahead of need
  pages written back    {written} ({stats['written_lines']} lines)
  local hit ratio       {100 * hit_ratio(stats, remote.fill.done_bytes):.1f} % of the pages of values written or read
  fault latency         p50 {redis['fault_p50_ns'] / 1000:.1f} us, p99 {redis['fault_p99_ns'] / 1000:.1f} us ({redis['fault_mode']})
  bytes on the wire     {human_bytes(after['received_bytes'] - before['received_bytes'])} to the server, \
{human_bytes(after['sent_bytes'] - before['sent_bytes'])} from it
  server CPU            {server_cpu_s:.2f} s

                        all local     on the pool
  filling            {local.fill.rate():9.1f} MB/s {remote.fill.rate():9.1f} MB/s
  checking           {local.check.rate():9.1f} MB/s {remote.check.rate():9.1f} MB/s
  both               {local.fill.seconds + local.check.seconds:9.1f} s    \
{remote.fill.seconds + remote.check.seconds:9.1f} s
""")


def run_demo(options, processes, folder):
    count, total_bytes = keys_for(options.megabytes * 1_000_000)
    print(f"redis-server with {count} values, {total_bytes / 1e6:.0f} MB, {options.local} of local memory")
    local = Run(processes, folder, "all local", [], count, total_bytes)
    pool = Pool(processes, folder, options.build, options.pool)
    stats_file = folder / "stats.json"
    # Strict: what the pool cannot hold is refused, so that nothing stays local in silence.
    prefix = [pool.cxe, "run", "--local", options.local, "--size", options.size, "--strict", "--stats", stats_file,
              *pool.options(), "--"]
    before, cpu_before_s = pool.server(), cpu_seconds(pool.process.pid)
    remote = Run(processes, folder, "on the pool", prefix, count, total_bytes)
    after, cpu_after_s = pool.server(), cpu_seconds(pool.process.pid)
    report(json.loads(stats_file.read_text()), before, after, cpu_after_s - cpu_before_s, local, remote)
    if processes.stop(pool.process) != 0:
        raise RuntimeError("fabricd did not end well:\n" + (folder / "fabricd.log").read_text())
    wrong = local.wrong + remote.wrong
    if wrong:
        print(f"WRONG VALUES: {wrong}")
        return 1
    print(f"demo: {count} values, {total_bytes / 1e6:.0f} MB, all right")
    return 0


def main():
    parser = argparse.ArgumentParser(description="redis-server on remote memory, every value checked")
    parser.add_argument("--megabytes", type=int, default=448, help="how much to store (448)")
    parser.add_argument("--local", default="64M", help="local memory of redis-server (64M)")
    parser.add_argument("--pool", default="1G", help="size of the pool (1G)")
    parser.add_argument("--size", default="960M", help="how much of the pool redis-server may use (960M)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    options = parser.parse_args()
    processes = Processes()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent did about it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="cxe-demo.") as name:
        try:
            return run_demo(options, processes, pathlib.Path(name))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            print(f"demo: failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ndemo: stopped", file=sys.stderr)
            return 130
        finally:
            processes.stop_all()


sys.exit(main())
