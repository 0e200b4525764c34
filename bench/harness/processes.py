"""processes.py - programs that are started for a measurement, and ended with it; a fabricd among them"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

START_SECONDS = 30


# ---- processes: only those started here are ever ended ----


class Processes:
    def __init__(self):
        self.running = []

    def start(self, command, log, cpu=None, **options):
        if cpu is not None:
            command = ["taskset", "--cpu-list", str(cpu), *command]
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=open(log, "wb"), stderr=subprocess.STDOUT, **options)
        self.running.append(process)
        return process

    def stop(self, process, seconds=20):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.running:
            self.running.remove(process)
        return process.returncode

    def stop_all(self):
        for process in reversed(self.running[:]):
            self.stop(process, 5)


def wait_for(what, process, log, ready):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.02)
    raise RuntimeError(f"{what} did not start (exit status {process.poll()}):\n{pathlib.Path(log).read_text(errors='replace')}")


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- the pool ----


class Pool:
    """A fabricd with one tenant, and what a client needs to reach it."""

    def __init__(self, processes, folder, build, pool, encryption="required", cpu=None):
        self.cxe, self.folder = build / "bin" / "cxe", folder
        for name in ("server", "client"):
            subprocess.run([self.cxe, "keygen", folder / f"{name}.key"], check=True, stdout=subprocess.DEVNULL)
        self.address = f"127.0.0.1:{free_port()}"
        config = folder / "fabricd.yaml"
        config.write_text(
            f"listen: [\"{self.address}\"]\n"
            f"key_file: {folder}/server.key\n"
            f"control_socket: {folder}/fabricd.sock\n"
            f"encryption: {encryption}\n"
            f"pool:\n  size: {pool}\n"
            f"metrics:\n  listen: none\n"
            f"tenants:\n  - name: tenant\n    id: 1\n    quota: unlimited\n"
            f"    public_key: {(folder / 'client.key.pub').read_text().split()[0]}\n")
        if cpu is not None:
            config.write_text(config.read_text() + "workers: 1\n")
        log = folder / "fabricd.log"
        self.process = processes.start([build / "bin" / "fabricd", "--config", config], log, cpu)
        wait_for("fabricd", self.process, log, self.answers)

    def options(self):
        return ["--server", self.address, "--server-key", f"{self.folder}/server.key.pub",
                "--key", f"{self.folder}/client.key"]

    def status(self):
        return subprocess.run([self.cxe, "status", "--json", *self.options()], capture_output=True, text=True)

    def answers(self):
        return self.status().returncode == 0

    def server(self):
        return json.loads(self.status().stdout)
