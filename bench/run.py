#!/usr/bin/python3
"""run.py - measures CXE and what one would take instead, in the same run on the same machine, and draws it

Each question below is a function; its first line is the question. Subject and rival are measured in turn, round by round.
Exit status 0: everything was measured (whether the goals are met is in the report), 1: something could not be measured
right, 2: the command line is wrong.
"""
import argparse
import array
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback

from harness import rivals, runs
from harness.figures import Figures, interleave
from harness.machine import Machine
from harness.processes import Pool, Processes

SCALE_BYTES = 16 << 30  # to scale to a million pages: on the server, and in the client's mapping
ROOT = pathlib.Path(__file__).resolve().parents[1]


class Bench:
    """What every question needs."""

    def __init__(self, options, folder):
        self.options, self.folder, self.build = options, pathlib.Path(folder), options.build
        self.quick, self.rounds = options.quick, 3 if options.quick else 7
        self.processes, self.figures, self.failures = Processes(), Figures(), []

    def rival(self, kind, **options):
        return kind(self.processes, self.folder, self.build, **options)

    def sized(self, full, quick):
        return quick if self.quick else full

    @contextlib.contextmanager
    def pool(self, size, encryption="allowed"):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        pool = Pool(self.processes, folder, self.build, size, encryption, rivals.SERVER_CPU)
        try:
            yield pool
        finally:
            self.processes.stop(pool.process)

    def cxe_bench(self, *words):
        """Figures of one of the tool's own benches."""
        out = self.folder / "cxe-bench.json"
        rivals.run([self.build / "bin" / "cxe", "bench", *words, f"--json={out}"], None, 1800)
        return json.loads(out.read_text())["figures"]

    def take_bench(self, *words, quick=()):
        """The same, as figures of this run. `quick`: further words where it is only tried whether it works."""
        for figure in self.cxe_bench(*words, *self.sized([f"--rounds={self.rounds}"], ["--rounds=1", "--seconds=1", *quick])):
            self.figures.take(figure)

    def measure(self, question):
        print(f"\n== {question.__doc__.splitlines()[0]}", flush=True)
        try:
            question(self)
        except rivals.Missing as missing:
            self.figures.skip(question.__name__, str(missing))
        except (RuntimeError, OSError, KeyError, subprocess.SubprocessError) as error:
            self.failures.append(question.__name__)
            print(f"FAILED: {question.__name__}: {error}", file=sys.stderr)
            if self.options.verbose:
                traceback.print_exc()
        finally:
            self.processes.stop_all()


# ---- lines ----


def lines(bench):
    """How long does a line operation take, beside a raw ping-pong of the same bytes?"""
    words = ["line", f"--rounds={bench.rounds}", f"--seconds={bench.sized(2, 1)}"]
    for figure in bench.cxe_bench(*words, *bench.sized([], ["--only=eth.plain"])):
        bench.figures.take(figure)


def depth(bench):
    """What do reads, writes and CAS of a line take, with 1 to 256 of them in flight?"""
    for only in ("eth.plain", "eth.encrypted"):
        bench.take_bench("depth", f"--only={only}", "--seconds=1", quick=["--depth=4"])


def frames(bench):
    """How many lines a second can be read with frames of which length?"""
    for only in ("eth.plain", "eth.encrypted"):
        bench.take_bench("frame", f"--only={only}")


def open_loop(bench):
    """How long do reads take that arrive at a rate of their own, however slow the answers are?"""
    for only in ("eth.plain", "eth.encrypted"):
        bench.take_bench("open", f"--only={only}")


def get_64_bytes(bench):
    """How long does it take to get 64 bytes from another process, whatever serves them?"""
    subjects = {"UDP ping-pong": bench.rival(rivals.Echo, udp=True, request_bytes=80, answer_bytes=120),
                "TCP ping-pong": bench.rival(rivals.Echo, udp=False, request_bytes=80, answer_bytes=120),
                "redis GET": bench.rival(rivals.Redis), "memcached get": bench.rival(rivals.Memcached),
                "UCX get (tcp)": bench.rival(rivals.Ucx),
                "libfabric tcp": bench.rival(rivals.Libfabric, provider="tcp", endpoint="msg"),
                "libfabric net": bench.rival(rivals.Libfabric, provider="net", endpoint="rdm")}
    with contextlib.ExitStack() as stack:
        for name in list(subjects):
            enter(bench, stack, subjects, name)
        ours = {f"cxe {only}": (lambda only=only: cxe_read(bench, only)) for only in ("eth.plain", "eth.encrypted")}
        names = [*ours, *subjects]
        samples = interleave(bench.rounds, *ours.values(), *[lambda rival=rival: rival.measure()["p50"]
                                                            for rival in subjects.values()])
    floor = dict(zip(names, samples))["UDP ping-pong"]
    for name, own in zip(names, samples):
        bench.figures.add(f"get_64B.{name}", "us", own, None if own is floor else "UDP ping-pong",
                          None if own is floor else floor,
                          setting=subjects[name].setting if name in subjects else "cxe bench line, one outstanding",
                          series={"plot": "Getting 64 bytes, one outstanding (p50)", "bar": name})


def enter(bench, stack, subjects, name):
    """A rival that is missing is skipped by name."""
    try:
        stack.enter_context(subjects[name])
    except rivals.Missing as missing:
        bench.figures.skip(name, str(missing))
        del subjects[name]


def cxe_read(bench, only):
    figures = bench.cxe_bench("line", f"--only={only}", "--figure=read_64B", "--rounds=1", "--seconds=1")
    return next(figure["value"] for figure in figures if figure["name"].endswith("read_64B.p50"))


def pipelined(bench):
    """How many 64-byte values a second can one client get, if it need not wait for each?"""
    subjects = {"redis GET, 64 deep": bench.rival(rivals.Redis), "memcached get, 64 deep": bench.rival(rivals.Memcached)}
    with contextlib.ExitStack() as stack:
        for name in list(subjects):
            enter(bench, stack, subjects, name)
        samples = interleave(bench.rounds, lambda: cxe_pipelined(bench),
                             *[lambda rival=rival: rival.measure(depth=64)["rate"] for rival in subjects.values()])
    for name, own in zip(["cxe eth.plain", *subjects], samples):
        bench.figures.add(f"pipelined_64B.{name}", "values/s", own, more_is_better=True,
                          setting=subjects[name].setting if name in subjects else "cxe bench line, 4096 deep",
                          series={"plot": "Getting 64 bytes, many outstanding", "bar": name})


def cxe_pipelined(bench):
    figures = bench.cxe_bench("line", "--only=eth.plain", "--figure=pipelined_64B", "--rounds=1", "--seconds=1")
    return figures[0]["value"]


# ---- pages ----


def pages(bench):
    """How long does a page fault take, beside a local one and a raw ping-pong?"""
    words = ["page", f"--rounds={bench.rounds}", f"--seconds={bench.sized(2, 1)}"]
    for figure in bench.cxe_bench(*words, *bench.sized([], ["--only=eth.plain"])):
        bench.figures.take(figure)


def faults(bench):
    """How long does it take to touch pages of a mapping, by pattern and number of threads?"""
    for only in ("eth.plain", "eth.encrypted"):
        bench.take_bench("fault", f"--only={only}", quick=["--threads=2"])


def load(bench):
    """How much longer do reads of a line take while another thread of the client streams pages?"""
    bench.take_bench("load", quick=["--only=eth.plain"])


def write_back(bench):
    """How many bytes does it take to write pages back, and how fast is it?"""
    bench.take_bench("writeback", quick=["--only=eth.plain"])


def page_rivals(bench):
    """How long does it take to touch a page that is elsewhere, and how fast is a scan?"""
    bytes_ = bench.sized(512 << 20, 64 << 20)
    makers = {"nbdfuse": lambda: bench.rival(rivals.NbdFuse, bytes_=bytes_),
              "zram": lambda: bench.rival(rivals.Swap, zram=True, swap_bytes=bytes_),
              "swap file": lambda: bench.rival(rivals.Swap, zram=False, swap_bytes=bytes_)}
    found = {"cxe eth.plain": ([], [], "inline faults")}
    for _ in range(min(bench.rounds, 3)):
        ours = {figure["name"]: figure["value"] for figure in bench.cxe_bench("page", "--only=eth.plain", "--rounds=1",
                                                                              "--seconds=1")}
        found["cxe eth.plain"][0].append(pick(ours, "inline.random", "p50"))
        found["cxe eth.plain"][1].append(pick(ours, "scan"))
        for name, make in list(makers.items()):
            try:
                with make() as rival:
                    seen = rival.measure()
            except rivals.Missing as missing:
                bench.figures.skip(name, str(missing))
                del makers[name]
                continue
            own = found.setdefault(name, ([], [], rival.setting))
            own[0].append(seen["p50"])
            own[1].append(seen["scan"])
    for name, (latencies, scans, setting) in found.items():
        is_nbd = name == "nbdfuse"
        bench.figures.add(f"page_touch.{name}", "us", latencies, "cxe eth.plain" if is_nbd else None,
                          found["cxe eth.plain"][0] if is_nbd else None, setting=setting,
                          series={"plot": "Touching a page that is elsewhere (p50)", "bar": name})
        bench.figures.add(f"page_scan.{name}", "MB/s", scans, more_is_better=True, setting=setting,
                          series={"plot": "Scanning memory that is elsewhere", "bar": name})


def pick(figures, *parts):
    return next(value for name, value in figures.items() if all(part in name for part in parts))


def scan_and_stream(bench):
    """How near does a scan of a mapping come to one TCP stream?"""
    goals = {"eth.plain": 0.6, "eth.encrypted": 0.35}
    with bench.rival(rivals.Iperf) as iperf:
        for only, goal in goals.items():
            ours, stream = interleave(bench.rounds, lambda only=only: cxe_scan(bench, only),
                                      lambda: iperf.measure()["rate"])
            bench.figures.add(f"{only}.scan_beside_stream", "MB/s", ours, "iperf3", stream, ratio_goal=goal,
                              more_is_better=True, setting=iperf.setting)


def cxe_scan(bench, only):
    figures = bench.cxe_bench("page", f"--only={only}", "--figure=scan", "--rounds=1", "--seconds=1")
    return figures[0]["value"]


# ---- programs ----


def programs(bench):
    """How much slower does a program get as less and less of its memory is local?"""
    bytes_ = bench.sized(256 << 20, 16 << 20)
    for workload, figure in (("gups", "updates"), ("stream", "triad"), ("chase", "hop"), ("zipf", "get"), ("sort", "sort"),
                             ("graph", "bfs"), ("graph", "pagerank")):
        with bench.pool(f"{(bytes_ * 4) >> 20}M") as pool, contextlib.ExitStack() as stack:
            systems = [runs.OnPool(pool, bench.folder, bytes_ * 2)]
            with contextlib.suppress(rivals.Missing):
                swap = stack.enter_context(bench.rival(rivals.Swap, zram=True, swap_bytes=bytes_ * 2))
                systems.append(runs.OnSwap(swap, "zram"))
            slow_down(bench, workload, figure, bytes_, systems)


def slow_down(bench, workload, figure, bytes_, systems):
    words = workload_words(workload, bytes_)
    local = runs.measure(bench.build, runs.Local(), workload, bytes_, 100, *words)[0][figure]
    less_is_better = figure in ("hop", "sort")
    for share in bench.sized(runs.SHARES, (100, 25)):
        for system in systems:
            value = runs.measure(bench.build, system, workload, bytes_, share, *words)[0][figure]
            slower = value / local if less_is_better else local / value
            bench.figures.add(f"program.{workload}.{figure}.{system.name}.{share}", "x", [slower],
                              setting=f"{bytes_ >> 20} MiB, {share} % local; all local: {local:.4g}",
                              series={"plot": f"Slow-down of {workload} ({figure})", "curve": system.name, "x": share,
                                      "x_label": "per cent of the memory that is local"})


def workload_words(workload, bytes_):
    """As much work as takes some seconds where it misses most: random accesses are counted, sweeps are not."""
    if workload == "gups":
        return [f"--work={bytes_ // 1024}"]
    if workload == "chase":
        return [f"--work={bytes_ // 2048}"]
    return ["--work=2"] if workload in ("stream", "graph") else []


def hash_table(bench):
    """What does a hash table cost half local, beside hits at local cost and misses at the least a fault takes?"""
    bytes_, gets = bench.sized(256 << 20, 32 << 20), bench.sized(2_000_000, 200_000)
    trace_file = bench.folder / "zipf.trace"
    words = [f"--work={gets}"]
    local = runs.measure(bench.build, runs.Local(), "zipf", bytes_, 100, *words)[0]["get"]
    runs.measure(bench.build, runs.Local(), "zipf", bytes_, 100, *words, f"--trace={trace_file}")
    trace = array.array("I", trace_file.read_bytes())
    touched = len(set(trace))
    fifo, lru = runs.page_cache_hits(trace, bytes_ // 2 // 4096)
    with bench.pool(f"{(bytes_ * 4) >> 20}M") as pool:
        system = runs.OnPool(pool, bench.folder, bytes_ * 2)
        figures, stats = runs.measure(bench.build, system, "zipf", bytes_, 50, *words)
    bench.figures.add("hash_table.local", "gets/s", [local], more_is_better=True)
    bench.figures.add("hash_table.half_local", "gets/s", [figures["get"]], "all local", [local], more_is_better=True,
                      setting=f"{len(trace)} gets over {touched} pages; fetched {stats.get('fetched_pages')} pages")
    bench.figures.add("hash_table.hits.fifo", "share", [fifo], more_is_better=True, setting="computed from the trace")
    bench.figures.add("hash_table.hits.lru", "share", [lru], more_is_better=True, setting="computed from the trace")


def redis_half_local(bench):
    """How fast is redis-server for one client, with half of its memory on the pool?"""
    records, seconds = bench.sized((3_000_000, 5), (50_000, 1))
    bytes_ = records * 460  # as redis uses it: value, key, index
    with bench.pool(f"{(bytes_ * 3) >> 20}M") as pool:
        system = runs.OnPool(pool, bench.folder, bytes_ * 2)
        with runs.redis(bench.processes, bench.folder, "local", []) as near, \
                runs.redis(bench.processes, bench.folder, "cxe", system.prefix(bytes_ // 2)) as far:
            runs.ycsb(bench.build, near, records, 1, "C")
            runs.ycsb(bench.build, far, records, 1, "C")
            for letter in "CABDEF":
                measure_ycsb(bench, letter, records, seconds, near, far)


def measure_ycsb(bench, letter, records, seconds, near, far):
    def one(path):
        return runs.ycsb(bench.build, path, records, seconds, letter, load=False)[f"ycsb_{letter}"]

    ours, local = interleave(bench.sized(3, 1), lambda: one(far), lambda: one(near))
    bench.figures.add(f"redis.ycsb_{letter}.half_local", "operations/s", ours, "all local", local,
                      ratio_goal=0.75 if letter == "C" else None, more_is_better=True,
                      setting=f"{records} records of 256 B, Zipf 0.99, one client")


def sqlite_in_memory(bench):
    """How long does sqlite3 take over a database in memory, with a quarter of it local?"""
    rows = bench.sized(600_000, 30_000)
    bytes_ = rows * 450
    with bench.pool(f"{max(256, (bytes_ * 4) >> 20)}M") as pool:
        system = runs.OnPool(pool, bench.folder, bytes_ * 2)
        (far, far_out), (near, near_out) = runs.sqlite(system.prefix(bytes_ // 4), rows), runs.sqlite([], rows)
        if far_out != near_out:
            raise RuntimeError("sqlite3 on the pool does not say what it says on local memory")
        bench.figures.add("sqlite.quarter_local", "s", [far], "all local", [near], setting=f"{rows} rows")


# ---- many clients ----


def sharing(bench):
    """What does it cost to share a page or a lock?"""
    for words in (["share"], ["lock"]):
        for figure in bench.cxe_bench(*words, *bench.sized([], ["--rounds=1", "--seconds=1"])):
            bench.figures.take(figure)


# ---- the server ----


def idle(bench):
    """What does a fabricd take of the machine while nobody asks it for anything?"""
    bench.take_bench("idle", "--seconds=20", "--only=eth.plain")


def scale(bench):
    """What do a region, a session and a cached page cost, with a thousand and with a million there?"""
    items = 1_000_000 if available_bytes() > SCALE_BYTES else 100_000
    bench.take_bench("scale", "--only=eth.plain", f"--items={items}", quick=["--items=1000"])


def available_bytes():
    line = next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


QUESTIONS = [lines, depth, frames, open_loop, get_64_bytes, pipelined, pages, faults, load, write_back, page_rivals,
             scan_and_stream, programs, hash_table, redis_half_local, sqlite_in_memory, sharing, idle, scale]


def parse():
    parser = argparse.ArgumentParser(description="Measures CXE and its rivals, and draws the report.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go (bench.json in the folder)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "bench", help="of the report (build/bench)")
    parser.add_argument("--quick", action="store_true", help="small and short: whether it works, not how fast it is")
    parser.add_argument("--only", metavar="TEXT", help="only questions whose names contain TEXT")
    parser.add_argument("--list", action="store_true", help="the questions")
    parser.add_argument("--verbose", action="store_true", help="where a failure comes from")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    return parser.parse_args()


def draw(path, folder):
    """What draws may be missing where nobody looks at pictures."""
    try:
        from harness import report
    except ImportError as missing:
        print(f"report:  not drawn: {missing}")
        return
    print(f"report:  {report.write(json.loads(path.read_text()), folder)}")


def main():
    options = parse()
    questions = [question for question in QUESTIONS if not options.only or options.only in question.__name__]
    if options.list or not questions:
        for question in QUESTIONS:
            print(f"{question.__name__:<20} {question.__doc__.splitlines()[0]}")
        return 0 if options.list else 2
    machine = Machine(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cxe-bench.") as folder:
        bench = Bench(options, folder)
        for question in questions:
            bench.measure(question)
    path = options.json or options.folder / "bench.json"
    bench.figures.write(path, machine.description())
    print(f"\nfigures: {path}")
    if bench.figures.figures:
        draw(path, options.folder)
    if bench.failures:
        print(f"not measured: {', '.join(bench.failures)}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
