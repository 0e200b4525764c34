"""rivals.py - what a user would take instead, each started at its best reasonable setting and ended again

A rival is a context manager: entered, it runs; `setting` says how. A rival that is not installed raises Missing, and is
skipped by name.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

from .processes import free_port, wait_for

SERVER_CPU, CLIENT_CPU = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))  # as cxe bench does


# libfabric's, each with an endpoint it has; those that are slow here are slow in libfabric 1.17.
PROVIDERS = (("tcp", "msg"), ("net", "rdm"), ("udp", "dgram"), ("tcp;ofi_rxm", "rdm"), ("udp;ofi_rxd", "rdm"),
             ("sockets", "rdm"), ("shm", "rdm"))


class Missing(Exception):
    """Why a rival cannot be measured here."""


class Killed(Exception):
    """A program was ended with SIGKILL, and not by us."""


def need(program):
    path = shutil.which(program)
    if not path:
        raise Missing(f"{program} is not installed")
    return path


def run(command, cpu=CLIENT_CPU, seconds=120, **options):
    """Runs a measuring program, pinned; returns what it printed. Whatever ends the wait ends all that it started."""
    command = [str(word) for word in (["taskset", "--cpu-list", str(cpu)] if cpu is not None else []) + list(command)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
                          **options) as process:
        try:
            out, errors = process.communicate(timeout=seconds)
        except BaseException:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode == -signal.SIGKILL:
        raise Killed(f"{' '.join(command)} was killed")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed ({process.returncode}): {errors.strip()[-400:]}")
    return out


def results(text):
    """The figures of a program that prints one JSON object a line."""
    objects = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {found["name"]: found["value"] for found in objects if "name" in found}


class Rival:
    """Subclasses start their server in `start`, and say in `setting` how."""

    setting = ""

    def __init__(self, processes, folder, build):
        self.processes, self.folder, self.build = processes, pathlib.Path(folder), pathlib.Path(build)
        self.stack = contextlib.ExitStack()
        self.port = free_port()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def serve(self, command, cpu=SERVER_CPU, **options):
        log = self.folder / f"{type(self).__name__}.log"
        process = self.processes.start(command, log, cpu, **options)
        self.stack.callback(self.processes.stop, process)
        return process, log

    def pingpong(self, *words, seconds=1, depth=1):
        program = self.build / "bin" / "rival-pingpong"
        return results(run([program, f"--seconds={seconds}", f"--depth={depth}", *words, f"127.0.0.1:{self.port}"]))

    def listens(self):
        """Does something listen on our port? TCP."""
        entry = f"0100007F:{self.port:04X} 00000000:0000 0A"
        return entry in pathlib.Path("/proc/net/tcp").read_text()


class Echo(Rival):
    """Raw sockets, both ends spinning: the floor."""

    def __init__(self, *arguments, udp, request_bytes, answer_bytes):
        super().__init__(*arguments)
        self.udp = udp
        self.words = [*(["--udp"] if udp else []), f"--request-bytes={request_bytes}", f"--answer-bytes={answer_bytes}"]
        self.setting = f"{'UDP' if udp else 'TCP'} over loopback, {request_bytes}/{answer_bytes} B, both ends spinning"

    def measure(self, seconds=1, depth=1):
        """The server takes one client in its life."""
        process, log = self.serve([self.build / "bin" / "rival-pingpong", "--serve", *self.words, f"127.0.0.1:{self.port}"])
        try:
            wait_for("rival-pingpong", process, log, self.listens)
            return self.pingpong(*self.words, seconds=seconds, depth=depth)
        finally:
            self.processes.stop(process)

    def listens(self):
        entry = f"0100007F:{self.port:04X} 00000000:0000 07"
        return entry in pathlib.Path("/proc/net/udp").read_text() if self.udp else super().listens()

    def start(self):
        pass


class Redis(Rival):
    setting = "redis-server without persistence, TCP over loopback, 64 B value, spinning client"

    def start(self):
        process, log = self.serve([need("redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                                   "--appendonly", "no"])
        wait_for("redis-server", process, log, self.listens)
        run([need("redis-cli"), "-p", self.port, "SET", "k", "v" * 64])

    def measure(self, seconds=1, depth=1):
        return self.pingpong("--request", "*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n",
                             f"--answer-bytes={len('$64') + 2 + 64 + 2}", seconds=seconds, depth=depth)


class Memcached(Rival):
    setting = "memcached -t 1, TCP over loopback, text protocol, 64 B value, spinning client"

    def start(self):
        process, log = self.serve([need("memcached"), "-u", "nobody", "-l", "127.0.0.1", "-p", self.port, "-U", "0", "-t", "1"])
        wait_for("memcached", process, log, self.listens)
        self.pingpong("--request", "set k 0 0 64\\r\\n" + "v" * 64 + "\\r\\n", f"--answer-bytes={len('STORED') + 2}")

    def measure(self, seconds=1, depth=1):
        answer = len("VALUE k 0 64") + 2 + 64 + 2 + len("END") + 2
        return self.pingpong("--request", "get k\\r\\n", f"--answer-bytes={answer}", seconds=seconds, depth=depth)


class Ucx(Rival):
    """ucx_perftest's server makes progress every millisecond while another gets from it (ucp_get); in a ping-pong of tagged
    messages both ends spin. It prints half a round trip."""

    setting = "ucx_perftest -t tag_lat, UCX_TLS=tcp over loopback, 64 B, a round trip"

    def start(self):
        need("ucx_perftest")

    def measure(self, seconds=1, depth=1):
        environment = {"PATH": "/usr/bin:/bin", "UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo", "UCX_WARN_UNUSED_ENV_VARS": "n"}
        process, log = self.serve(["ucx_perftest", "-p", self.port], env=environment)
        try:
            wait_for("ucx_perftest", process, log, self.listens_anywhere)
            text = run(["ucx_perftest", "127.0.0.1", "-p", self.port, "-t", "tag_lat", "-s", "64", "-n", 30000 * seconds,
                        "-w", 1000], env=environment)
        finally:
            self.processes.stop(process)
        final = re.search(r"Final:\s+\d+\s+([\d.]+)", text)
        if not final:
            raise RuntimeError(f"ucx_perftest printed no result: {text[-300:]}")
        return {"p50": 2 * float(final.group(1))}

    def listens_anywhere(self):
        tables = [pathlib.Path("/proc/net/tcp"), pathlib.Path("/proc/net/tcp6")]
        return any(f":{self.port:04X} 0" in table.read_text() for table in tables if table.exists())


class Libfabric(Rival):
    """fi_pingpong prints the time of a transfer, half a round trip."""

    def __init__(self, *arguments, provider, endpoint):
        super().__init__(*arguments)
        self.provider, self.endpoint = provider, endpoint
        self.setting = f"fi_pingpong -p '{provider}' -e {endpoint} -S 64, mean" + \
            {"shm": ": shared memory, no network", "sockets": ", FI_SOCKETS_PE_WAITTIME=0"}.get(provider, "")

    def start(self):
        need("fi_pingpong")
        if subprocess.run([need("fi_info"), "-p", self.provider], capture_output=True).returncode != 0:
            raise Missing(f"libfabric has no provider '{self.provider}' here")

    def measure(self, seconds=1, depth=1):
        """First a few, to find out how many fit."""
        trip_us = self.exchange(50)
        return {"p50": self.exchange(int(min(max(seconds * 1e6 / trip_us, 50), 1e6)))}

    def exchange(self, count):
        common = ["fi_pingpong", "-p", self.provider, "-e", self.endpoint, "-S", "64", "-I", count]
        environment = {**os.environ, "FI_SOCKETS_PE_WAITTIME": "0"}  # else its thread has our core for ten milliseconds
        process, log = self.serve([*common, "-B", self.port], env=environment)
        try:
            wait_for("fi_pingpong", process, log, lambda: f":{self.port:04X} 0" in pathlib.Path("/proc/net/tcp").read_text()
                     + pathlib.Path("/proc/net/tcp6").read_text())
            text = run([*common, "-P", self.port, "127.0.0.1"], env=environment)
        finally:
            self.processes.stop(process)
        row = [line.split() for line in text.splitlines() if line.startswith("64 ")]
        if not row:
            raise RuntimeError(f"fi_pingpong printed no result: {text[-300:]}")
        return 2 * float(row[0][-2])


class Iperf(Rival):
    setting = "iperf3, one TCP stream over loopback"

    def start(self):
        process, log = self.serve([need("iperf3"), "--server", "--bind", "127.0.0.1", "--port", self.port])
        wait_for("iperf3", process, log, self.listens)

    def measure(self, seconds=1, depth=1):
        text = run(["iperf3", "--client", "127.0.0.1", "--port", self.port, "--json", "--time", seconds])
        return {"rate": json.loads(text)["end"]["sum_received"]["bits_per_second"] / 8e6}


class NbdFuse(Rival):
    """A file whose pages come from nbdkit's memory: what one has today without a kernel module."""

    setting = "nbdfuse over nbdkit memory (UNIX socket), mmap, MADV_RANDOM or MADV_SEQUENTIAL"

    def __init__(self, *arguments, bytes_):
        super().__init__(*arguments)
        self.bytes, self.directory = bytes_, self.folder / "nbd"

    def start(self):
        need("nbdkit"), need("fusermount3")
        self.directory.mkdir(exist_ok=True)
        self.file = self.directory / "pool.img"
        process, log = self.serve([need("nbdfuse"), self.directory / "pool.img", "--command", "nbdkit", "-s",
                                   "--exit-with-parent", "memory", self.bytes], cpu=None)
        self.stack.callback(subprocess.run, ["fusermount3", "-u", str(self.directory)], capture_output=True)
        wait_for("nbdfuse", process, log, self.file.exists)

    def measure(self, seconds=1, depth=1):
        return results(run([self.build / "bin" / "rival-touch", f"--bytes={self.bytes // 2}", f"--file={self.file}"]))


class Swap(Rival):
    """Memory under a cgroup's limit, the rest swapped: to compressed memory (zram), or to a file. No network in it."""

    def __init__(self, *arguments, zram, swap_bytes):
        super().__init__(*arguments)
        self.zram, self.bytes = zram, swap_bytes
        self.setting = f"{'zram' if zram else 'a swap file'} under a memory cgroup"

    def start(self):
        need("swapon"), need("mkswap")
        self.device = self.make_zram() if self.zram else self.make_file()
        subprocess.run(["mkswap", self.device], check=True, capture_output=True)
        self.group = make_group(f"{self.folder.name}.{'zram' if self.zram else 'file'}")
        self.stack.callback(self.group.rmdir)
        with self.swapped_on():  # is it allowed?
            pass

    @contextlib.contextmanager
    def swapped_on(self):
        """Only while something is measured with it: the kernel fills all swap there is."""
        swapped = subprocess.run(["swapon", "--priority", "100", self.device], capture_output=True, text=True)
        if swapped.returncode != 0:
            raise Missing(f"swapon is refused here: {swapped.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["swapoff", self.device], capture_output=True)

    def make_file(self):
        path = self.folder / "swap"
        with open(path, "wb") as file:
            file.truncate(0)
            for _ in range(self.bytes >> 20):
                file.write(bytes(1 << 20))
        path.chmod(0o600)
        self.stack.callback(path.unlink)
        return str(path)

    def make_zram(self):
        control = pathlib.Path("/sys/class/zram-control")
        if not control.exists() and shutil.which("modprobe"):
            subprocess.run(["modprobe", "zram"], capture_output=True)
        if not control.exists():
            raise Missing("the kernel has no zram")
        try:
            number = (control / "hot_add").read_text().strip()
        except OSError as error:
            raise Missing(f"no zram device can be made: {error.strerror}") from error
        self.stack.callback(lambda: (control / "hot_remove").write_text(number))
        pathlib.Path(f"/sys/block/zram{number}/disksize").write_text(str(self.bytes))
        how = pathlib.Path(f"/sys/block/zram{number}/comp_algorithm").read_text()
        self.setting = self.setting.replace("zram", f"zram ({how.partition('[')[2].partition(']')[0]})")
        return f"/dev/zram{number}"

    def prefix(self, local_bytes):
        """What a program's command line starts with, to have only so much memory."""
        limit = self.group / "memory.limit_in_bytes"
        (limit if limit.exists() else self.group / "memory.max").write_text(str(local_bytes))
        return ["sh", "-c", f'echo $$ > {self.group}/cgroup.procs; exec "$@"', "sh"]

    def run(self, local_bytes, command, seconds=600):
        """Kernels kill programs that swap in a small cgroup faster than they make room: once more, then it is missing."""
        for _ in range(3):
            with self.swapped_on(), contextlib.suppress(Killed):
                return run([*self.prefix(local_bytes), *command], CLIENT_CPU, seconds)
        raise Missing(f"with {local_bytes >> 20} MiB of local memory the kernel kills {pathlib.Path(command[0]).name}")

    def measure(self, seconds=1, depth=1):
        bytes_ = self.bytes // 2
        return results(self.run(max(bytes_ // 8, 8 << 20), [self.build / "bin" / "rival-touch", f"--bytes={bytes_}"]))


def make_group(name):
    for root in (pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists():
            group = root / name
            try:
                group.mkdir()
                return group
            except OSError as error:
                raise Missing(f"no memory cgroup can be made: {error.strerror}") from error
    raise Missing("there is no memory cgroup")
