"""figures.py - one object a figure, and how samples become one

A figure is the median of its rounds with its quartiles. Where it has a floor, subject and floor were measured in turn,
and the ratio is the median of the ratios round by round: a machine that slows down for a while slows both. The schema is
described in docs/BENCHMARKS.md.
"""
import json
import statistics


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
        """`ratio_goal`, `value_goal`: at most, or at least if more is better. `series`: [x name, x, curve], for pictures."""
        low, value, high = quartiles(samples)
        figure = {"name": name, "value": value, "unit": unit, "quartiles": [low, high], "more_is_better": more_is_better,
                  "floor": floor, "floor_value": None, "ratio": None, "ratio_quartiles": None, "goal": None,
                  "goal_of": None, "met": None, "setting": setting, "series": series}
        if floor_samples:
            figure["floor_value"] = statistics.median(floor_samples)
            pairs = [sample / other for sample, other in zip(samples, floor_samples) if other]
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
        figure["met"] = figure[goal_of] >= goal if figure["more_is_better"] else figure[goal_of] <= goal

    def take(self, figure):
        """A figure in its final form: from add, or from a program that measures by the same rules."""
        for key in ("more_is_better", "setting", "series"):
            figure.setdefault(key, None)
        self.figures.append(figure)
        self.say(line_of(figure))

    def skip(self, name, why):
        self.skipped.append({"name": name, "why": why})
        self.say(f"{name:<44} skipped: {why}")

    def find(self, name):
        return next((figure for figure in self.figures if figure["name"] == name), None)

    def write(self, path, machine):
        with open(path, "w") as file:
            json.dump({"machine": machine, "figures": self.figures, "skipped": self.skipped}, file, indent=2)
            file.write("\n")


def number(value):
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"


def line_of(figure):
    line = f"{figure['name']:<44} {number(figure['value']):>12} {figure['unit']:<12}"
    if figure["ratio"] is not None:
        line += f" {figure['ratio']:.2f}x {figure['floor']} ({number(figure['floor_value'])})"
    if figure["goal"] is not None:
        line += f"  goal {number(figure['goal'])}: {'met' if figure['met'] else 'NOT MET'}"
    return line


def interleave(rounds, *subjects):
    """Calls each subject once a round, in turn: A B A B. Returns a list of samples for each."""
    samples = [[] for _ in subjects]
    for _ in range(rounds):
        for subject, own in zip(subjects, samples):
            own.append(subject())
    return samples
