"""report.py - a run's figures as one HTML file that needs no network, and the same plots as SVG and PNG for a paper

What is drawn follows from the figures alone. `series` says where one belongs: {"plot", "x_label", "curve", "x"} is a point
of a curve, {"plot", "bar"} a bar. Figures that end in .p50, .p90, .p99 and .p999 make a latency distribution; {"plot",
"distribution"} says in which plot and by which name, and those that are points of curves make none. Every plot has its
table below it. Systems that are side by side are ours if their names start with "cxe".
"""
import html
import io
import json
import math
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import ticker  # noqa: E402
import matplotlib.pyplot as plot  # noqa: E402  (the backend comes first)

matplotlib.rcParams["svg.hashsalt"] = "cxe"  # the same figures make the same file

try:
    from .figures import number as figures_number
except ImportError:  # run as a program
    from figures import number as figures_number

# Stand-ins that a reader's light or dark theme replaces (see STYLE); a paper gets them as they are.
INK, FAINT = "#1b1f24", "#8a9199"
CURVES = ["#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#56b4e9"]
PERCENTILES = ["p50", "p90", "p99", "p999"]
# What stands beside us as a bound and would not do our work.
BOUNDS = {"UDP ping-pong": "no server behind it", "TCP ping-pong": "no server behind it", "libfabric shm": "no network in it",
          "zram": "no network in it", "swap file": "no network in it", "all local": "all memory at hand",
          "iperf3": "a stream of bytes", "FIFO": "a computed cache", "LRU": "a computed cache"}

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #8a9199; --paper: #ffffff; --line: #d8dde2; --good: #1a7f37;
        --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --faint: #8f969d; --paper: #15181c; --line: #333a41;
        --good: #57ab5a; --bad: #f47067; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 80rem;
       margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; margin: .5rem 0 2rem; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: right; white-space: nowrap; }
td:first-child, th:first-child, td.text, th.text { text-align: left; white-space: normal; }
td.text { min-width: 10em; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
h2 { margin-top: 2.5rem; font-size: 1.15rem; }
svg { max-width: 100%; height: auto; } figure { margin: 1rem 0; } .scroll { overflow-x: auto; }
summary { cursor: pointer; color: var(--faint); } .faint { color: var(--faint); }
"""


# ---- what there is to draw ----


def distributions(figures):
    """{plot: {name: {percentile: figure}}} of latencies whose distribution is known."""
    plots = {}
    for figure in figures:
        base, _, percentile = figure["name"].rpartition(".")
        series = figure.get("series") or {"plot": "Latency distributions", "distribution": base}
        if percentile in PERCENTILES and figure["unit"] == "us" and "distribution" in series:
            names = plots.setdefault(series["plot"], {})
            names.setdefault(series["distribution"], {})[percentile] = figure
    whole = {title: {name: parts for name, parts in names.items() if len(parts) == len(PERCENTILES)}
             for title, names in plots.items()}
    return {title: names for title, names in whole.items() if names}


def by_plot(figures, key):
    """{plot: [figures]} of those whose series has `key`."""
    found = {}
    for figure in figures:
        series = figure.get("series")
        if series and key in series:
            found.setdefault(series["plot"], []).append(figure)
    return found


# ---- drawing ----


def axes_of(title, x_label, y_label, height=3.6):
    drawing, axes = plot.subplots(figsize=(9, height))
    axes.set_title(title, loc="left", color=INK, fontsize=12)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, which="both")
    axes.grid(True, color=FAINT, alpha=.25, linewidth=.6)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    return drawing, axes


def legend(axes):
    """Beside the axes, where it hides nothing."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)


def plain_ticks(axis):
    """10, 100, 1000 instead of powers, with a thousand as 1k, and no labels between."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def short(value):
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def use_log(axis_name, axes, values, spread):
    """A log axis if the values span more than `spread`; one with two decades of labels at least, so that it can be read."""
    positive = sorted(value for value in values if value > 0)
    if not positive or len(positive) < len(values) or positive[-1] / positive[0] < spread:
        return False
    getattr(axes, f"set_{axis_name}scale")("log")
    axis = getattr(axes, f"{axis_name}axis")
    if positive[-1] / positive[0] < 100:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    plain_ticks(axis)
    return True


def draw_distributions(title, found):
    drawing, axes = axes_of(title, "percentile", "us", max(3.6, .9 + .22 * len(found)))
    for colour, (name, parts) in zip(CURVES * 9, found.items()):
        axes.plot(PERCENTILES, [parts[percentile]["value"] for percentile in PERCENTILES], "o-", color=colour, label=name,
                  linewidth=1.4, markersize=4)
    axes.set_xticks(range(len(PERCENTILES)), ["50 %", "90 %", "99 %", "99.9 %"])
    values = [part["value"] for parts in found.values() for part in parts.values()]
    if not use_log("y", axes, values, 3):
        axes.set_ylim(bottom=0)
    legend(axes)
    return drawing


def draw_curves(title, figures):
    curves = {}
    for figure in figures:
        curves.setdefault(figure["series"]["curve"], []).append(figure)
    drawing, axes = axes_of(title, figures[0]["series"]["x_label"], unit_of(figures[0]), max(3.6, .9 + .22 * len(curves)))
    for colour, (name, points) in zip(CURVES * 9, curves.items()):
        points.sort(key=lambda figure: figure["series"]["x"])
        x = [figure["series"]["x"] for figure in points]
        axes.plot(x, [figure["value"] for figure in points], "o-", color=colour, label=name, linewidth=1.4, markersize=4)
        axes.fill_between(x, [figure["quartiles"][0] for figure in points], [figure["quartiles"][1] for figure in points],
                          color=colour, alpha=.15, linewidth=0)
    places = sorted({figure["series"]["x"] for figure in figures})
    is_log = use_log("x", axes, places, 20)
    if are_apart([math.log(place) for place in places] if is_log else places):
        axes.set_xticks(places, [short(place) for place in places])
    else:
        plain_ticks(axes.xaxis)
    if not use_log("y", axes, [figure["value"] for figure in figures], 10):
        axes.set_ylim(bottom=0)
        plain_ticks(axes.yaxis)
    if len(curves) > 1:
        legend(axes)
    return drawing


def are_apart(places):
    """Is there room for a label at each?"""
    gaps = [right - left for left, right in zip(places, places[1:])]
    return len(places) <= 12 and (not gaps or min(gaps) >= 0.07 * (places[-1] - places[0]))


def unit_of(figure):
    return "times as slow" if figure["unit"] == "x" else figure["unit"]


def draw_bars(title, figures):
    """The best on top; whiskers are the quartiles."""
    drawing, axes = axes_of(title, f"{figures[0]['unit']} ({'more' if figures[0]['more_is_better'] else 'less'} is better)", "",
                            height=1 + .36 * len(figures))
    figures = sorted(figures, key=lambda figure: figure["value"], reverse=not figures[0]["more_is_better"])
    names = [figure["series"]["bar"] for figure in figures]
    values = [figure["value"] for figure in figures]
    colours = [CURVES[0] if name.startswith("cxe") else FAINT for name in names]
    whiskers = [[figure["value"] - figure["quartiles"][0] for figure in figures],
                [figure["quartiles"][1] - figure["value"] for figure in figures]]
    bars = axes.barh(names, values, color=colours, xerr=whiskers, error_kw={"ecolor": INK, "elinewidth": 1})
    axes.bar_label(bars, labels=[f" {number(value)}" for value in values], color=INK, fontsize=8)
    axes.yaxis.grid(False)
    if not use_log("x", axes, values, 50):
        axes.set_xlim(left=0)
        plain_ticks(axes.xaxis)
    axes.margins(x=.15)
    return drawing


def drawings(figures):
    """[(title, drawing, figures in it)]"""
    for title, found in distributions(figures).items():
        yield title, draw_distributions(title, found), [figure for parts in found.values() for figure in parts.values()]
    for draw, key in ((draw_curves, "curve"), (draw_bars, "bar")):
        for title, group in by_plot(figures, key).items():
            yield title, draw(title, group), group


# ---- writing ----


def slug(title):
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def inline_svg(drawing, name, title):
    """The drawing as SVG whose colours follow the page, and whose ids are its own."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|\sxmlns(:\w+)?=\"[^\"]*\"", "", text[text.index("<svg"):], flags=re.S)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
    text = re.sub(r'(id="|href="#|url\(#)', lambda match: match.group(1) + name + "-", text)
    return text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")


def number(value):
    return "" if value is None else figures_number(value)


def row(figure):
    met = {None: "", True: '<span class="met">met</span>', False: '<span class="missed">not met</span>'}[figure["met"]]
    goal = "" if figure["goal"] is None else f"{number(figure['goal'])}{' x' if figure['goal_of'] == 'ratio' else ''} {met}"
    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f} x"
    cells = [html.escape(figure["name"]), number(figure["value"]), html.escape(figure["unit"]),
             " .. ".join(number(end) for end in figure["quartiles"]), html.escape(figure["floor"] or ""),
             number(figure["floor_value"]), ratio, goal]
    setting = f'<br><span class="faint">{html.escape(figure["setting"])}</span>' if figure.get("setting") else ""
    return "<tr>" + "".join(f"<td{' class=text' if i == 4 else ''}>{cell}{setting if i == 0 else ''}</td>"
                            for i, cell in enumerate(cells)) + "</tr>"


def table(figures):
    heads = ["figure", "value", "unit", "quartiles", "beside", "its value", "ratio", "goal"]
    head = "".join(f"<th{' class=text' if name == 'beside' else ''}>{name}</th>" for name in heads)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(row(figure) for figure in figures)}</table></div>'


def machine_text(machine):
    words = [f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB",
             "virtual" if machine["virtual"] else "real", f"Linux {machine['kernel']} {machine['architecture']}",
             f"{machine['steal_percent']} % of its time given to others",
             "mitigated: " + (" ".join(machine["mitigated"]) or "nothing"),
             "vulnerable: " + (" ".join(machine["vulnerable"]) or "nothing")]
    return html.escape("; ".join(words))


def summary(figures):
    judged = judged_of(figures)
    met = sum(figure["met"] for figure in judged)
    return f"{len(figures)} figures; {met} of {len(judged)} goals are met."


def judged_of(figures):
    """Those with a goal, the missed ones first."""
    return sorted((figure for figure in figures if figure["met"] is not None), key=lambda figure: figure["met"])


def side_by_side(figures):
    """(what, {name: figure}) for each comparison of systems: the bars of a plot, the curves of a plot at one place."""
    for title, group in by_plot(figures, "bar").items():
        yield title, {figure["series"]["bar"]: figure for figure in group}
    for title, group in by_plot(figures, "curve").items():
        for x in sorted({figure["series"]["x"] for figure in group}):
            yield f"{title}, {short(x)} {group[0]['series']['x_label']}", \
                {figure["series"]["curve"]: figure for figure in group if figure["series"]["x"] == x}


def beaten(figures):
    """Sentences about those who do better than we do at our best."""
    lines = []
    for what, systems in side_by_side(figures):
        ours = [figure for name, figure in systems.items() if name.startswith("cxe")]
        for name, figure in systems.items():
            if figure in ours or not ours:
                continue
            better = max if figure["more_is_better"] else min
            best = better(own["value"] for own in ours)
            if better(best, figure["value"]) != best:
                remark = f"; a bound: {BOUNDS[name]}" if name in BOUNDS else ""
                lines.append(f"{what}: {name} ({number(figure['value'])} {figure['unit']}, cxe {number(best)}{remark})")
    return lines


def page(document, parts):
    machine, figures = document["machine"], document["figures"]
    sections = [f"<section><h2>{html.escape(title)}</h2><figure>{svg}</figure><details><summary>the numbers</summary>"
                f"{table(group)}</details></section>" for title, svg, group in parts]
    judged = judged_of(figures)
    wins = "".join(f"<li>{html.escape(line)}</li>" for line in beaten(figures)) or "<li>nowhere</li>"
    skipped = "".join(f"<li>{html.escape(item['name'])}: {html.escape(item['why'])}</li>" for item in document["skipped"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>CXE benchmark, {machine['date']}</title><style>{STYLE}</style></head><body>
<h1>CXE benchmark</h1>
<p>{machine['date']}, commit {html.escape(machine['commit'])}<br><span class="faint">{machine_text(machine)}</span></p>
<p id="summary">{summary(figures)} Values are medians over the rounds; a ratio is the median of the ratios pair by pair.</p>
{"<h2>Goals</h2>" + table(judged) if judged else ""}
<h2>Where a rival wins</h2><ul>{wins}</ul>
{"<h2>Skipped</h2><ul>" + skipped + "</ul>" if skipped else ""}
{"".join(sections)}
<h2>All figures</h2>{table(figures)}
</body></html>
"""


def write(document, folder):
    """Writes report.html and plots/*.{svg,png} into the folder; returns the page's path."""
    folder = pathlib.Path(folder)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    parts = []
    for title, drawing, group in drawings(document["figures"]):
        name = slug(title)
        for kind in ("svg", "png"):
            drawing.savefig(folder / "plots" / f"{name}.{kind}", dpi=200, bbox_inches="tight", facecolor="white")
        drawing.axes[0].set_title("", loc="left")  # the page has it above
        parts.append((title, inline_svg(drawing, name, title), group))
        plot.close(drawing)
    path = folder / "report.html"
    path.write_text(page(document, parts))
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: report.py FIGURES.json FOLDER")
    print(write(json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2]))
