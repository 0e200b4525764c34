"""canned.py - figures of every kind, as a run would have measured them; `canned.py ROOT FILE [skipped]` writes them"""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "bench"))
from harness.figures import Figures  # noqa: E402

MACHINE = {"date": "2001-02-03 04:05:06 UTC", "commit": "0123456789ab", "kernel": "6.1", "architecture": "x86_64",
           "cpu": "A processor", "cores": 2, "memory_bytes": 8 << 30, "virtual": True, "mitigated": ["spectre_v2"],
           "vulnerable": [], "steal_percent": 0.25}


def add_latencies(figures):
    for connection, factor in (("eth.plain", 1), ("eth.encrypted", 1.4)):
        for percentile, value in (("p50", 10), ("p90", 12), ("p99", 40), ("p999", 300)):
            own = [value * factor * wobble for wobble in (0.9, 1, 1.2)]
            floor = [value * 0.9] * 3 if percentile == "p50" else None
            figures.add(f"{connection}.read_64B.{percentile}", "us", own, "UDP ping-pong" if floor else None, floor,
                        ratio_goal=1.25 if floor else None)


def add_curves(figures):
    for system, slope in (("cxe", 0.9), ("zram", 0.5)):
        for share in (100, 75, 50, 25, 10):
            figures.add(f"program.sort.{system}.{share}", "x", [1 + slope * (100 - share) / 10] * 3,
                        series={"plot": "Slow-down of sort", "curve": system, "x": share,
                                "x_label": "per cent of the memory that is local"})
    for depth in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        figures.add(f"eth.plain.read_depth_{depth}.rate", "lines/s", [depth * 90000.0] * 3, more_is_better=True,
                    series={"plot": "Throughput against depth", "curve": "read", "x": depth, "x_label": "requests in flight"})
    for items in (1000, 10000, 100000, 1000000):
        figures.add(f"scale_region_create_{items}", "us", [12.0, 12.5, 13.0],
                    series={"plot": "Cost of a region", "curve": "create", "x": items, "x_label": "regions there are"})


def add_bars(figures, rivals):
    for name, value in {"cxe eth.plain": 11.0, "cxe eth.encrypted": 14.0, **rivals}.items():
        figures.add(f"get_64B.{name}", "us", [value * wobble for wobble in (0.9, 1, 1.1)], setting="a <setting> & more",
                    series={"plot": "Getting 64 bytes", "bar": name})


def make(skipped):
    figures = Figures(say=lambda line: None)
    add_latencies(figures)
    add_curves(figures)
    add_bars(figures, {} if skipped else {"redis GET": 25.0, "UCX get": 9.0, "libfabric sockets": 5000.0})
    for name in ("redis GET", "UCX get") if skipped else ():
        figures.skip(name, "is not installed")
    return {"machine": MACHINE, "figures": figures.figures, "skipped": figures.skipped}


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_text(json.dumps(make("skipped" in sys.argv[3:])))
