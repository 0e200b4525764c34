"""runs.py - programs on less and less local memory: under cxe run, and under a memory cgroup with swap"""
import contextlib
import json
import pathlib
import subprocess
import time

from .processes import wait_for
from .rivals import CLIENT_CPU, results, run

SHARES = (100, 75, 50, 25, 10)  # per cent of the memory that is local
MINIMUM = 4 << 20               # what cxe run needs at least
BESIDE = 4 << 20                # what a program takes besides the memory that is counted: code, stack, buffers


def whole_pages(bytes_):
    return bytes_ // 4096 * 4096


class Local:
    """No limit at all: what the others are compared with."""

    name = "local"

    def prefix(self, local_bytes):
        return []

    def run(self, local_bytes, command, seconds):
        return run([*self.prefix(local_bytes), *command], CLIENT_CPU, seconds)

    def stats(self):
        return {}


class OnPool(Local):
    """cxe run: what does not fit is on the pool."""

    def __init__(self, pool, folder, size_bytes, *options, name="cxe"):
        self.name, self.pool, self.file = name, pool, pathlib.Path(folder) / "run.json"
        self.size_bytes, self.options = whole_pages(size_bytes), options
        self.setting = " ".join(["cxe run", *options])

    def prefix(self, local_bytes):
        self.file.unlink(missing_ok=True)
        return [self.pool.cxe, "run", "--strict", "--local", whole_pages(max(local_bytes, MINIMUM)), "--size", self.size_bytes,
                "--stats", self.file, *self.options, *self.pool.options(), "--"]

    def stats(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {}


class OnSwap(Local):
    """A memory cgroup of the same size, the rest in zram or in a swap file."""

    def __init__(self, swap, name):
        self.swap, self.name, self.setting = swap, name, swap.setting

    def run(self, local_bytes, command, seconds):
        return self.swap.run(local_bytes, command, seconds)


def measure(build, system, workload, bytes_, share, *options, seconds=900):
    """One run of a workload. Returns {figure: value} and what the system counted."""
    command = [build / "bin" / f"workload-{workload}", f"--bytes={bytes_}", *options]
    return results(system.run(bytes_ * share // 100 + BESIDE, command, seconds)), system.stats()


@contextlib.contextmanager
def redis(processes, folder, name, prefix):
    """A redis-server that keeps nothing on disk, on a socket of its own."""
    path, log = pathlib.Path(folder) / f"{name}.sock", pathlib.Path(folder) / f"{name}.log"
    path.unlink(missing_ok=True)
    process = processes.start([*prefix, "/usr/bin/redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                               "--appendonly", "no", "--dir", folder], log)
    try:
        wait_for(f"redis-server ({name})", process, log, path.exists)
        yield path
    finally:
        processes.stop(process)


def ycsb(build, path, records, seconds, workloads="ABCDEF", load=True):
    return results(run([build / "bin" / "workload-ycsb", *(["--load"] if load else []), f"--records={records}",
                        f"--seconds={seconds}", f"--workloads={workloads}", path], None, 1200))


SQL = """
create table t(id integer primary key, k integer, v text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
insert into t select i, (i * 2654435761) % 1000003, printf('%0200d', i) from n;
create index t_k on t(k);
select count(*), sum(k), sum(length(v)) from t;
select sum(x) from (select a.id * b.id % 97 as x from t a join t b on a.k = b.k);
update t set v = printf('%0200d', k) where id % 3 = 0;
select sum(substr(v, 150)) from t order by k;
"""


def sqlite(prefix, rows):
    """Seconds, and what came out: the same for every memory, or it is wrong."""
    start = time.monotonic()
    done = subprocess.run([str(word) for word in [*prefix, "sqlite3", ":memory:"]], input=SQL.format(rows=rows), text=True,
                          capture_output=True, timeout=1200)
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(f"sqlite3 failed: {done.stderr.strip()[-300:]}")
    return time.monotonic() - start, done.stdout


def page_cache_hits(trace, pages, first):
    """Hit ratios of caches of so many pages, from the trace's `first` access on: first in first out, least recently used."""
    return fifo_hits(trace, pages, first), lru_hits(trace, pages, first)


def fifo_hits(trace, pages, first):
    present, queue, head, hits = set(), [], 0, 0
    for at, page in enumerate(trace):
        if page in present:
            hits += at >= first
            continue
        if len(present) == pages:
            present.discard(queue[head])
            head += 1
        present.add(page)
        queue.append(page)
    return hits / (len(trace) - first)


def lru_hits(trace, pages, first):
    present, hits = {}, 0  # a dict keeps the order in which keys were put in
    for at, page in enumerate(trace):
        if page in present:
            hits += at >= first
            del present[page]
        elif len(present) == pages:
            del present[next(iter(present))]
        present[page] = None
    return hits / (len(trace) - first)
