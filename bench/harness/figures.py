"""figures.py - one object a figure, and how samples become one

A figure is the median of its rounds with its quartiles. Where it has a floor, subject and floor were measured in turn,
and the ratio is the median of the ratios round by round: a machine that slows down for a while slows both. The schema is
described in docs/BENCHMARKS.md.
"""
import json
import math
import statistics

NUMBER, TEXT, PAIR = (int, float), str, list
# What a figure consists of: its members, and their types where they are not null.
MEMBERS = {"name": TEXT, "value": NUMBER, "unit": TEXT, "quartiles": PAIR, "more_is_better": bool, "floor": TEXT,
           "floor_value": NUMBER, "ratio": NUMBER, "ratio_quartiles": PAIR, "goal_of": TEXT, "goal": NUMBER, "met": bool,
           "series": dict, "setting": TEXT}
NEVER_NULL = ("name", "value", "unit", "quartiles", "more_is_better")
SERIES = ({"plot", "curve", "x", "x_label"}, {"plot", "bar"}, {"plot", "distribution"})


def quartiles(samples):
    if len(samples) == 1:
        return [samples[0], samples[0], samples[0]]
    return statistics.quantiles(samples, n=4, method="inclusive")


class Figures:
    """All figures of a run, in the order they were measured."""

    def __init__(self, say=print):
        self.figures, self.skipped, self.say = [], [], say

    def add(self, name, unit, samples, floor=None, floor_samples=None, ratio_goal=None, value_goal=None, more_is_better=False,
            setting=None, series=None):
        """`ratio_goal`, `value_goal`: at most, or at least if more is better. `series`: where it is drawn."""
        low, value, high = quartiles(samples)
        figure = {"name": name, "value": value, "unit": unit, "quartiles": [low, high], "more_is_better": more_is_better,
                  "floor": floor, "floor_value": None, "ratio": None, "ratio_quartiles": None, "goal": None,
                  "goal_of": None, "met": None, "setting": setting, "series": series}
        if floor_samples:
            figure["floor_value"] = statistics.median(floor_samples)
            pairs = [sample / other for sample, other in zip(samples, floor_samples, strict=True)]
            low, figure["ratio"], high = quartiles(pairs)
            figure["ratio_quartiles"] = [low, high]
        if ratio_goal is not None and figure["ratio"] is not None:
            self.judge(figure, "ratio", ratio_goal)
        elif value_goal is not None:
            self.judge(figure, "value", value_goal)
        self.take(figure)
        return figure

    @staticmethod
    def judge(figure, goal_of, goal):
        figure["goal_of"], figure["goal"] = goal_of, goal
        figure["met"] = reaches(figure)

    def take(self, figure):
        """A figure in its final form: from add, or from a program that measures by the same rules."""
        figure = {member: figure.get(member) for member in MEMBERS}
        complaints = complaints_of(figure)
        if self.find(figure["name"]):
            complaints.append("there is one of that name")
        if complaints:
            raise RuntimeError(f"figure {figure['name']}: {'; '.join(complaints)}")
        self.figures.append(figure)
        self.say(line_of(figure))

    def skip(self, name, why):
        if {"name": name, "why": why} in self.skipped:
            return  # once a round
        self.skipped.append({"name": name, "why": why})
        self.say(f"{name:<44} skipped: {why}")

    def find(self, name):
        return next((figure for figure in self.figures if figure["name"] == name), None)

    def write(self, path, machine):
        with open(path, "w") as file:
            json.dump({"machine": machine, "figures": self.figures, "skipped": self.skipped}, file, indent=2)
            file.write("\n")


# ---- what is a figure: the schema of docs/BENCHMARKS.md as code ----


def complaints_of(figure):
    """Why this is no figure: a list of sentences, empty if it is one."""
    found = [f"{member} is missing" for member in MEMBERS if member not in figure]
    found += [f"{member} is unknown" for member in figure if member not in MEMBERS]
    if found:
        return found
    for member, kind in MEMBERS.items():
        value = figure[member]
        if value is None and member in NEVER_NULL:
            found.append(f"{member} is null")
        elif value is not None and not is_a(kind, value):
            found.append(f"{member} is {value!r}")
    return found or contradictions(figure)


def is_a(kind, value):
    if kind is PAIR:
        return isinstance(value, list) and len(value) == 2 and all(is_a(NUMBER, end) for end in value)
    if kind is NUMBER:
        return isinstance(value, NUMBER) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def contradictions(figure):
    found = []
    if not figure["quartiles"][0] <= figure["value"] <= figure["quartiles"][1]:
        found.append("the median is not between the quartiles")
    if len({figure[member] is None for member in ("floor", "floor_value", "ratio", "ratio_quartiles")}) > 1:
        found.append("floor, floor_value, ratio and ratio_quartiles go together")
    if len({figure[member] is None for member in ("goal_of", "goal", "met")}) > 1:
        found.append("goal_of, goal and met go together")
    elif figure["goal_of"] not in (None, "ratio", "value"):
        found.append(f"goal_of is {figure['goal_of']!r}")
    elif figure["goal_of"] and figure["met"] != reaches(figure):
        found.append("met is not what the numbers say")
    if figure["series"] is not None and set(figure["series"]) not in SERIES:
        found.append(f"series has {sorted(figure['series'])}")
    return found


def reaches(figure):
    reached = figure[figure["goal_of"]]
    return reached is not None and (reached >= figure["goal"] if figure["more_is_better"] else reached <= figure["goal"])


def check_document(document):
    """Raises ValueError if this is not what a run writes."""
    if set(document) != {"machine", "figures", "skipped"}:
        raise ValueError(f"a run has machine, figures and skipped, and this has {sorted(document)}")
    names = [figure.get("name") for figure in document["figures"]]
    complaints = [f"{name} is there twice" for name in sorted({name for name in names if names.count(name) > 1}, key=str)]
    for figure in document["figures"]:
        complaints += [f"{figure.get('name')}: {complaint}" for complaint in complaints_of(figure)]
    for item in document["skipped"]:
        if set(item) != {"name", "why"} or not all(item.values()):
            complaints.append(f"skipped: {item}")
    if complaints:
        raise ValueError("; ".join(complaints))


# ---- text ----


def number(value):
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def line_of(figure):
    line = f"{figure['name']:<44} {number(figure['value']):>12} {figure['unit']:<12}"
    if figure["ratio"] is not None:
        line += f" {figure['ratio']:.2f}x {figure['floor']} ({number(figure['floor_value'])})"
    if figure["goal"] is not None:
        line += f"  goal {number(figure['goal'])}: {'met' if figure['met'] else 'NOT MET'}"
    return line + (f"\n    ({figure['setting']})" if figure["setting"] else "")


def interleave(rounds, *subjects, warm_up=True):
    """Calls each subject once a round, in turn: A B A B. Returns a list of samples for each. The first round is one more,
    and does not count."""
    samples = [[] for _ in subjects]
    for _ in range(rounds + warm_up):
        for subject, own in zip(subjects, samples):
            own.append(subject())
    return [own[warm_up:] for own in samples]
