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
import re
import signal
import subprocess
import sys
import tempfile
import traceback

from harness import browser, rivals, runs
from harness.figures import Figures, check_document, interleave
from harness.machine import Machine
from harness.processes import Pool, Processes

SCALE_BYTES = 16 << 30  # to scale to a million pages: on the server, and in the client's mapping
ROOT = pathlib.Path(__file__).resolve().parents[1]


class Bench:
    """What every question needs."""

    def __init__(self, options, folder):
        self.options, self.folder, self.build = options, pathlib.Path(folder), options.build
        self.quick, self.rounds = options.quick, 2 if options.quick else options.rounds
        self.long_rounds = 1 if options.quick else options.long_rounds or min(3, options.rounds)
        self.processes, self.figures, self.failures = Processes(), Figures(), []

    def rival(self, kind, **options):
        return kind(self.processes, self.folder, self.build, **options)

    def interleave(self, rounds, *subjects):
        return interleave(rounds, *subjects, warm_up=not self.quick)

    def side_by_side(self, subjects):
        """{name: samples}, measured in turn. Who fails three times in a row is skipped, and the run has failed: the others
        are not worth less for it."""
        given_up = set()

        def sample(name, measure):
            for _ in range(3):
                try:
                    return None if name in given_up else measure()
                except (RuntimeError, rivals.Missing, subprocess.SubprocessError) as why:
                    reason = f"failed: {why}"
            given_up.add(name)
            self.failures.append(name)
            self.figures.skip(name, reason)
            return None

        samples = self.interleave(self.rounds, *[lambda item=item: sample(*item) for item in subjects.items()])
        return {name: own for name, own in zip(subjects, samples) if name not in given_up}

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
        said = rivals.run([self.build / "bin" / "cxe", "bench", *words, f"--json={out}"], None, 1800)
        for name, why in re.findall(r"^(\S+): left out: (.*)$", said, re.MULTILINE):
            self.figures.skip(name, why)
        return json.loads(out.read_text())["figures"]

    def take(self, figure, plot):
        """A figure of the tool's; latencies that it draws nowhere are drawn as distributions, a plot for each connection."""
        first, second, *rest = figure["name"].split(".")
        if rest and not figure["series"] and rest[-1] in ("p50", "p90", "p99", "p999") and "beside" not in second:
            figure["series"] = {"plot": f"{plot}: {first}.{second}", "distribution": ".".join(rest[:-1])}
        self.figures.take(figure)

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
        except (RuntimeError, rivals.Killed, OSError, LookupError, ArithmeticError, ValueError, StopIteration,
                subprocess.SubprocessError) as error:
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
        bench.take(figure, "Latency of line operations")


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
                "UCX (tcp)": bench.rival(rivals.Ucx)}
    for provider, endpoint in rivals.PROVIDERS:
        subjects[f"libfabric {provider}"] = bench.rival(rivals.Libfabric, provider=provider, endpoint=endpoint)
    with contextlib.ExitStack() as stack:
        for name in list(subjects):
            enter(bench, stack, subjects, name)
        ours = {f"cxe {only}": (lambda only=only: cxe_read(bench, only)) for only in ("eth.plain", "eth.encrypted")}
        samples = bench.side_by_side({**ours, **{name: lambda rival=rival: rival.measure()["p50"]
                                                 for name, rival in subjects.items()}})
    floor = samples.get("UDP ping-pong")
    for name, own in samples.items():
        is_alone = own is floor or not floor
        bench.figures.add(f"get_64B.{name}", "us", own, None if is_alone else "UDP ping-pong", None if is_alone else floor,
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
        samples = bench.side_by_side({"cxe eth.plain": lambda: cxe_pipelined(bench),
                                      **{name: lambda rival=rival: rival.measure(depth=64)["rate"]
                                         for name, rival in subjects.items()}})
    for name, own in samples.items():
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
        bench.take(figure, "Latency of page faults")


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
    bytes_ = bench.sized(512 << 20, 128 << 20)
    makers = {"nbdfuse": lambda: bench.rival(rivals.NbdFuse, bytes_=bytes_),
              "zram": lambda: bench.rival(rivals.Swap, zram=True, swap_bytes=bytes_),
              "swap file": lambda: bench.rival(rivals.Swap, zram=False, swap_bytes=bytes_)}
    found = {"cxe eth.plain": ([], [], "inline faults")}
    for _ in range(bench.long_rounds):
        ours = {figure["name"]: figure["value"] for figure in bench.cxe_bench("page", "--only=eth.plain", "--rounds=1",
                                                                              "--seconds=1")}
        found["cxe eth.plain"][0].append(pick(ours, "inline.random", "p50"))
        found["cxe eth.plain"][1].append(pick(ours, "scan"))
        for name, make in list(makers.items()):
            try:
                with make() as rival:
                    seen = rival.measure()
            except (rivals.Missing, RuntimeError, subprocess.SubprocessError) as why:
                bench.figures.skip(name, str(why))
                if not isinstance(why, rivals.Missing):
                    bench.failures.append(name)
                del makers[name]
                continue
            own = found.setdefault(name, ([], [], rival.setting))
            own[0].append(seen["p50"])
            own[1].append(seen["scan"])
    for name, (latencies, scans, setting) in found.items():
        beside = found.get("nbdfuse") if name == "cxe eth.plain" else None
        bench.figures.add(f"page_touch.{name}", "us", latencies, "nbdfuse" if beside else None,
                          beside[0] if beside else None, ratio_goal=round(1 / 6, 4), setting=setting,
                          series={"plot": "Touching a page that is elsewhere (p50)", "bar": name})
        bench.figures.add(f"page_scan.{name}", "MB/s", scans, more_is_better=True, setting=setting,
                          series={"plot": "Scanning memory that is elsewhere", "bar": name})


def pick(figures, *parts):
    return next(value for name, value in figures.items() if all(part in name for part in parts))


def scan_and_stream(bench):
    """How near does a scan of a mapping come to one TCP stream?"""
    goals = {"eth.plain": 0.6, "eth.encrypted": 0.35}
    plot = "A scan of a mapping beside one TCP stream"
    streams = []
    with bench.rival(rivals.Iperf) as iperf:
        for only, goal in goals.items():
            ours, stream = bench.interleave(bench.rounds, lambda only=only: cxe_scan(bench, only),
                                            lambda: iperf.measure()["rate"])
            streams += stream
            for mode in ("inline", "thread"):
                bench.figures.add(f"{only}.{mode}.scan_beside_stream", "MB/s", [own[mode] for own in ours], "iperf3", stream,
                                  ratio_goal=goal if mode == "inline" else None, more_is_better=True,
                                  setting=f"prefetch on, {mode} faults; {iperf.setting}",
                                  series={"plot": plot, "bar": f"cxe {only}, {mode} faults"})
        bench.figures.add("stream.iperf3", "MB/s", streams, more_is_better=True, setting=iperf.setting,
                          series={"plot": plot, "bar": "iperf3"})


def cxe_scan(bench, only):
    """{mode: MB/s}"""
    figures = bench.cxe_bench("page", f"--only={only}", "--figure=scan", "--rounds=1", "--seconds=1")
    return {mode: pick({figure["name"]: figure["value"] for figure in figures}, f".{mode}.scan")
            for mode in ("inline", "thread")}


# ---- programs ----


# Workloads with the figures that are drawn, whether less of them is better, and the bytes they use.
PROGRAMS = {"gups": ({"updates": False}, 256 << 20), "chase": ({"hop": True}, 256 << 20),
            "stream": ({"copy": False, "scale": False, "add": False, "triad": False}, 256 << 20),
            "graph": ({"bfs": False, "pagerank": False}, 256 << 20), "zipf": ({"get": False}, 1 << 30),
            "sort": ({"sort": True}, 1 << 30)}


def program(bench, workload):
    """It alone, under cxe run and under a cgroup with swap."""
    figures, bytes_ = PROGRAMS[workload]
    bytes_ = bench.sized(bytes_, 64 << 20)
    with bench.pool(f"{(bytes_ * 4) >> 20}M") as pool, contextlib.ExitStack() as stack:
        systems = [runs.OnPool(pool, bench.folder, bytes_ * 2, "--encryption=off"),
                   runs.OnPool(pool, bench.folder, bytes_ * 2, name="cxe, encrypted")]
        for name in ("zram", "swap file"):
            try:
                swap = stack.enter_context(bench.rival(rivals.Swap, zram=name == "zram", swap_bytes=bytes_ * 2))
                systems.append(runs.OnSwap(swap, name))
            except rivals.Missing as missing:
                bench.figures.skip(f"program.{workload}.{name}", str(missing))
        slow_down(bench, workload, figures, bytes_, systems)


def program_gups(bench):
    """How much slower do updates at random places get as less and less of their table is local?"""
    program(bench, "gups")


def program_stream(bench):
    """How much slower do sweeps over large arrays get as less and less of them is local?"""
    program(bench, "stream")


def program_chase(bench):
    """How much slower is a chain of pointers as less and less of it is local?"""
    program(bench, "chase")


def program_graph(bench):
    """How much slower are BFS and PageRank as less and less of the graph is local?"""
    program(bench, "graph")


def program_zipf(bench):
    """How much slower is a hash table with popular keys as less and less of it is local?"""
    program(bench, "zipf")


def program_sort(bench):
    """How much slower is quicksort as less and less of the array is local?"""
    program(bench, "sort")


def slow_down(bench, workload, figures, bytes_, systems):
    words = workload_words(workload, bytes_, bench.folder)
    shares = bench.sized(runs.SHARES, (100, 25))
    cases = [(None, 100)] + [(system, share) for share in shares for system in systems]
    missing = set()

    def sample(system, share):
        """None of a rival that cannot do it."""
        if system in missing:
            return None
        try:
            return runs.measure(bench.build, system or runs.Local(), workload, bytes_, share, *words)[0]
        except rivals.Missing as why:
            missing.add(system)
            bench.figures.skip(f"program.{workload}.{system.name}", str(why))
            return None

    subjects = [lambda case=case: sample(*case) for case in cases]
    local, *others = interleave(bench.long_rounds, *subjects, warm_up=False)  # each warms up by itself
    for figure, less_is_better in figures.items():
        near = [own[figure] for own in local]
        for (system, share), far in zip(cases[1:], others):
            if None in far:
                continue
            slower = [own[figure] / all_local if less_is_better else all_local / own[figure]
                      for own, all_local in zip(far, near)]
            local_text = f"{share} % and {runs.BESIDE >> 20} MiB local ({system.setting})"
            bench.figures.add(f"program.{workload}.{figure}.{system.name}.{share}".replace(", ", "_").replace(" ", "_"), "x",
                              slower, setting=f"{bytes_ >> 20} MiB, {local_text}; all local: {near[0]:.4g}",
                              series={"plot": f"Slow-down of {workload} ({figure})", "curve": system.name, "x": share,
                                      "x_label": "per cent of the memory that is local"})


def workload_words(workload, bytes_, folder):
    """As much work as takes some seconds where it misses most: random accesses are counted, sweeps are not."""
    words = {"gups": [f"--work={bytes_ // 1024}"], "chase": [f"--work={bytes_ // 2048}"],
             "zipf": [f"--work={min(bytes_ // 512, 2_000_000)}"], "stream": ["--work=2"],
             "graph": ["--work=2", f"--graph={folder / 'graph'}"]}
    return words.get(workload, [])


def hash_table(bench):
    """What does a hash table cost half local, beside hits at local cost and misses at the least a fault takes?"""
    bytes_, gets = bench.sized(1 << 30, 32 << 20), bench.sized(2_000_000, 200_000)
    trace_file = bench.folder / "zipf.trace"
    runs.measure(bench.build, runs.Local(), "zipf", bytes_, 100, f"--work={2 * gets}", f"--trace={trace_file}")
    trace = array.array("I", trace_file.read_bytes())
    with bench.pool(f"{(bytes_ * 4) >> 20}M") as pool:
        system = runs.OnPool(pool, bench.folder, bytes_ * 2, "--encryption=off")
        seen = [hash_table_round(bench, system, bytes_, gets, len(trace) // 2) for _ in range(bench.long_rounds)]
    fifo, lru = runs.page_cache_hits(trace, (bytes_ // 2 + runs.BESIDE) // 4096, len(trace) // 2)
    setting = f"{bytes_ >> 20} MiB, half local, {gets} gets of 256 B, Zipf 0.99, no encryption"
    plot = "Hits of a hash table, half local"
    bench.figures.add("hash_table.local", "us", [own["local_us"] for own in seen], setting="a get, all local")
    bench.figures.add("hash_table.half_local", "us", [own["us"] for own in seen],
                      "hits at local cost + misses at the inline floor", [own["expected_us"] for own in seen], ratio_goal=1.3,
                      setting=f"a get; {setting}; the floor of a fault is {seen[0]['fault_us']:.3g} us")
    bench.figures.add("hash_table.hits.cxe", "share", [own["hits"] for own in seen], "FIFO", [fifo] * len(seen), ratio_goal=1,
                      more_is_better=True, setting=setting, series={"plot": plot, "bar": "cxe"})
    for name, hits in (("FIFO", fifo), ("LRU", lru)):
        bench.figures.add(f"hash_table.hits.{name}", "share", [hits], more_is_better=True,
                          setting="computed from the trace of the same gets", series={"plot": plot, "bar": name})


def hash_table_round(bench, system, bytes_, gets, touches):
    """Filling the table misses as well: what gets alone missed is the difference between two runs. They touched `touches`
    pages, some more than one."""
    less = runs.measure(bench.build, system, "zipf", bytes_, 50, f"--work={gets}")[1]
    local = runs.measure(bench.build, runs.Local(), "zipf", bytes_, 100, f"--work={2 * gets}")[0]
    figures, more = runs.measure(bench.build, system, "zipf", bytes_, 50, f"--work={2 * gets}")
    faults = more["faults"] - less["faults"]
    misses = faults / (gets * 5 / 4)  # of a get; a fourth more to warm up
    floors = bench.cxe_bench("page", "--only=eth.plain", "--figure=inline.random_fault", "--rounds=1", "--seconds=1")
    fault_us = pick({figure["name"]: figure["floor_value"] for figure in floors}, "p50")
    local_us = 1e6 / local["get"]
    return {"local_us": local_us, "us": 1e6 / figures["get"], "hits": 1 - faults / touches, "fault_us": fault_us,
            "expected_us": (1 - misses) * local_us + misses * fault_us}


def redis_half_local(bench):
    """How fast is redis-server for one client, with half of its memory on the pool?"""
    records, seconds = bench.sized((4 << 20, 5), (50_000, 1))  # values of 256 B: 1 GiB
    bytes_ = records * 460  # as redis uses it: value, key, index
    with bench.pool(f"{(bytes_ * 4) >> 20}M") as pool:
        plain, encrypted = (runs.OnPool(pool, bench.folder, bytes_ * 3 // 2, f"--encryption={word}") for word in ("off", "on"))
        with runs.redis(bench.processes, bench.folder, "local", []) as near, \
                runs.redis(bench.processes, bench.folder, "cxe", plain.prefix(bytes_ // 2)) as far, \
                runs.redis(bench.processes, bench.folder, "encrypted", encrypted.prefix(bytes_ // 2)) as encrypted_far:
            servers = {"half_local": far, "half_local_encrypted": encrypted_far, "local": near}
            for path in servers.values():
                runs.ycsb(bench.build, path, records, bench.sized(15, 1), "C")  # until the popular ones are local
            for letter in "CABDEF":
                measure_ycsb(bench, letter, records, seconds, servers)


def measure_ycsb(bench, letter, records, seconds, servers):
    """Each warms up by itself, and only reads (C) are judged."""
    def one(path):
        return runs.ycsb(bench.build, path, records, seconds, letter, load=False)

    samples = dict(zip(servers, interleave(bench.long_rounds, *[lambda path=path: one(path) for path in servers.values()],
                                           warm_up=False)))
    rates = {name: [own[f"ycsb_{letter}"] for own in found] for name, found in samples.items()}
    setting = f"{records} records of 256 B, Zipf 0.99, one client that waits for each answer"
    for name, rate in rates.items():
        is_local = name == "local"
        bench.figures.add(f"redis.ycsb_{letter}.{name}", "operations/s", rate, None if is_local else "all local",
                          None if is_local else rates["local"], ratio_goal=0.75 if letter == "C" else None,
                          more_is_better=True, setting=setting,
                          series={"plot": f"redis-server under YCSB {letter}",
                                  "bar": "all local" if is_local else f"cxe, {name.replace('_', ' ')}"})
        bench.figures.add(f"redis.ycsb_{letter}.{name}.p99", "us", [own[f"ycsb_{letter}.p99"] for own in samples[name]],
                          setting=setting)


def sqlite_in_memory(bench):
    """How long does sqlite3 take over a database in memory, with a quarter of it local?"""
    rows = bench.sized(600_000, 30_000)
    bytes_ = rows * 450
    with bench.pool(f"{max(256, (bytes_ * 4) >> 20)}M") as pool:
        system = runs.OnPool(pool, bench.folder, bytes_ * 2, "--encryption=off")
        far, near = interleave(bench.long_rounds, lambda: runs.sqlite(system.prefix(bytes_ // 4), rows),
                               lambda: runs.sqlite([], rows), warm_up=False)
    if len({out for _, out in far + near}) != 1:
        raise RuntimeError("sqlite3 on the pool does not say what it says on local memory")
    bench.figures.add("sqlite.quarter_local", "s", [seconds for seconds, _ in far], "all local",
                      [seconds for seconds, _ in near], setting=f"{rows} rows, no encryption")


# ---- many clients ----


def sharing(bench):
    """What does it cost to share a page or a lock?"""
    for what in ("share", "lock"):
        for only in ("eth.plain", "eth.encrypted", "ofi.tcp"):
            try:
                found = bench.cxe_bench(what, f"--only={only}",
                                        *bench.sized([f"--rounds={bench.rounds}"], ["--rounds=1", "--seconds=1"]))
            except RuntimeError as why:  # one connection less is not all the others'
                bench.failures.append(f"{what} over {only}")
                bench.figures.skip(f"{only}.{what}", f"failed: {why}")
                continue
            for figure in found:
                bench.take(figure, "Latency of shared pages")


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
             scan_and_stream, hash_table, redis_half_local, sqlite_in_memory, sharing, idle, scale,
             # Last: they take longer than all the others.
             program_gups, program_stream, program_chase, program_graph, program_zipf, program_sort]


def parse():
    parser = argparse.ArgumentParser(description="Measures CXE and its rivals, and draws the report.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go (bench.json in the folder)")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "bench", help="of the report (build/bench)")
    parser.add_argument("--quick", action="store_true", help="small and short: whether it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="of what takes seconds (7)")
    parser.add_argument("--long-rounds", type=int, metavar="N", help="of what takes minutes (as --rounds, but at most 3)")
    parser.add_argument("--only", metavar="TEXT", help="only questions whose names contain TEXT")
    parser.add_argument("--draw", type=pathlib.Path, metavar="FILE", help="measure nothing, draw these figures; also of a run "
                        "that did not come to its end")
    parser.add_argument("--list", action="store_true", help="the questions")
    parser.add_argument("--verbose", action="store_true", help="where a failure comes from")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    options = parser.parse_args()
    if options.rounds < 1 or (options.long_rounds is not None and options.long_rounds < 1):
        parser.error("rounds: at least one")
    return options


def draw(path, folder):
    """False: the report is not right. What draws, and what looks at it, may be missing."""
    try:
        from harness import report
    except ImportError as missing:
        print(f"report:  not drawn: {missing}")
        return True
    document = json.loads(path.read_text())
    check_document(document)
    page = report.write(document, folder)
    try:
        print(f"report:  {page} ({browser.check(page)})")
    except browser.Missing as missing:
        print(f"report:  {page} (not opened: {missing})")
    except (RuntimeError, subprocess.SubprocessError) as error:
        print(f"FAILED: report: {error}", file=sys.stderr)
        return False
    return True


def main():
    options = parse()
    questions = [question for question in QUESTIONS if not options.only or options.only in question.__name__]
    if options.list or not questions:
        for question in QUESTIONS:
            print(f"{question.__name__:<20} {question.__doc__.splitlines()[0]}")
        return 0 if options.list else 2
    path = options.json or options.folder / "bench.json"
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.draw:
        return 0 if draw(options.draw, options.folder) else 1
    machine = Machine(ROOT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="cxe-bench.") as folder:
        bench = Bench(options, folder)
        for question in questions:
            bench.measure(question)
            bench.figures.write(path, machine.description())  # each time: the next one may take long
    print(f"\nfigures: {path}")
    if bench.figures.figures and not draw(path, options.folder):
        bench.failures.append("report")
    if bench.failures:
        print(f"not measured: {', '.join(bench.failures)}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
