"""machine.py - what a measurement was made on: figures of different machines are not compared"""
import os
import pathlib
import platform
import subprocess
import time

VULNERABILITIES = pathlib.Path("/sys/devices/system/cpu/vulnerabilities")


def first_line(path, default=""):
    try:
        return pathlib.Path(path).read_text().splitlines()[0]
    except (OSError, IndexError):
        return default


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_bytes():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            return int(line.split()[1]) * 1024
    return 0


def mitigations():
    found = {"mitigated": [], "vulnerable": []}
    for path in sorted(VULNERABILITIES.glob("*")):
        state = first_line(path)
        if state.startswith("Mitigation"):
            found["mitigated"].append(path.name)
        elif state.startswith("Vulnerable"):
            found["vulnerable"].append(path.name)
    return found


def commit(root):
    try:
        run = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=12"],
                             capture_output=True, text=True)
    except OSError:  # no git: the sources came in an archive
        return "unknown"
    return run.stdout.strip() or "unknown"


def ticks():
    """Ticks of all processors since boot: all, and those that the hypervisor gave to others."""
    fields = [int(word) for word in first_line("/proc/stat").split()[1:]]
    return sum(fields[:8]), fields[7]


class Machine:
    def __init__(self, root):
        self.commit, self.start_ticks = commit(root), ticks()
        self.date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())

    def description(self):
        (total, stolen), (total_before, stolen_before) = ticks(), self.start_ticks
        return {
            "date": self.date,
            "commit": self.commit,
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "memory_bytes": memory_bytes(),
            "virtual": "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text(),
            **mitigations(),
            "steal_percent": round(100 * (stolen - stolen_before) / max(1, total - total_before), 2),
        }
