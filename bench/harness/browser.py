#!/usr/bin/python3
"""browser.py - opens a report in headless Chromium, light and dark, and finds out whether one can look at it

`browser.py REPORT.html [FOLDER]` prints what was seen, and puts screenshots into the folder. What it asks for: no error and
no word on the console, nothing loaded but the page itself, every picture of some size, no label on another, none
cut off, ink that can be told from the paper, and a table behind each picture.
"""
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SECONDS = 120
WIDTH = 1200
CONTRAST_MIN = 4.5  # of text to background: WCAG 2.1, level AA

# Runs in the page when it is complete, and leaves what it saw in the page.
PROBE = """
<script>
window.errors = [];
addEventListener("error", event => window.errors.push(String(event.message || event.target.src)), true);
addEventListener("load", () => {
    const boxes = (svg) => [...svg.querySelectorAll("g[id*='-text_']")].map(text => text.getBoundingClientRect())
        .filter(box => box.width > 0 && box.height > 0);
    const outside = (box, frame) => box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
    const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3)
            .map(part => part / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const style = getComputedStyle(document.body);
    const [darker, lighter] = [style.color, style.backgroundColor].map(luminance).sort((a, b) => a - b);
    const seen = {
        errors: window.errors,
        loaded: performance.getEntriesByType("resource").map(entry => entry.name),
        dark: luminance(style.backgroundColor) < luminance(style.color),
        contrast: (lighter + .05) / (darker + .05),
        tables: document.querySelectorAll("section table").length,
        height: document.documentElement.scrollHeight,
        wide: document.documentElement.scrollWidth > innerWidth,
        pictures: [...document.querySelectorAll("figure")].map(figure => {
            const svg = figure.querySelector("svg"), title = figure.closest("section").querySelector("h2").textContent;
            if (!svg) return {title, width: 0, height: 0, overlaps: 0, cut: 0, labels: 0};
            const frame = svg.getBoundingClientRect(), texts = boxes(svg);
            const pairs = texts.flatMap((a, i) => texts.slice(i + 1).filter(b => meet(a, b)));
            return {title, width: frame.width, height: frame.height, labels: texts.length, overlaps: pairs.length,
                    cut: texts.filter(box => outside(box, frame)).length};
        }),
    };
    const out = document.createElement("pre");
    out.id = "seen";
    out.textContent = JSON.stringify(seen);
    document.body.append(out);
});
</script>
"""


class Missing(Exception):
    """There is no browser."""


def find():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        raise Missing("chromium is not installed")
    return path


def open_page(page, dark, *options):
    """Chromium's output: the page when it is complete, and what its console said."""
    with tempfile.TemporaryDirectory(prefix="cxe-browser.") as home:
        command = [find(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   f"--user-data-dir={home}", "--enable-logging=stderr", "--virtual-time-budget=5000",
                   f"--window-size={WIDTH},2000", "--hide-scrollbars",
                   f"--blink-settings=preferredColorScheme={0 if dark else 1}", *options, pathlib.Path(page).resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env={"HOME": home, "PATH": "/usr/bin:/bin"})
    if done.returncode != 0:
        raise RuntimeError(f"chromium ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def look(page, dark):
    """What the probe saw, and what the console said."""
    text = pathlib.Path(page).read_text()
    with tempfile.TemporaryDirectory(prefix="cxe-report.") as folder:
        copy = pathlib.Path(folder) / "report.html"
        copy.write_text(text.replace("<head>", "<head>" + PROBE, 1))
        dom, console = open_page(copy, dark, "--dump-dom")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    if not found:
        raise RuntimeError("the page was not complete")
    return {**json.loads(html.unescape(found.group(1))), "console": console}


def complaints_of(seen, dark):
    found = [f"error: {error}" for error in seen["errors"]] + seen["console"]
    found += [f"loads {name}" for name in seen["loaded"]]
    if seen["dark"] != dark:
        found.append(f"is {'dark' if seen['dark'] else 'light'}")
    if seen["contrast"] < CONTRAST_MIN:
        found.append(f"ink and paper have a contrast of {seen['contrast']:.1f}")
    if seen["wide"]:
        found.append("is wider than the window")
    if seen["tables"] < len(seen["pictures"]):
        found.append("has a picture without a table")
    for picture in seen["pictures"]:
        found += [f"{picture['title']}: {complaint}" for complaint in complaints_of_picture(picture)]
    return found


def complaints_of_picture(picture):
    if picture["width"] < 300 or picture["height"] < 80 or picture["labels"] < 3:
        return ["nothing can be seen"]
    return [f"{picture[kind]} labels {words}" for kind, words in (("overlaps", "lie on others"), ("cut", "are cut off"))
            if picture[kind]]


def check(page):
    """A sentence about what is there. Raises Missing without a browser, RuntimeError if one cannot look at it."""
    for dark in (False, True):
        seen = look(page, dark)
        complaints = complaints_of(seen, dark)
        if complaints:
            raise RuntimeError(f"{page}, {'dark' if dark else 'light'}: " + "; ".join(complaints))
    return f"{len(seen['pictures'])} pictures, light and dark"


def photograph(page, folder):
    for dark in (False, True):
        height = min(look(page, dark)["height"] + 100, 16000)
        path = pathlib.Path(folder) / f"report-{'dark' if dark else 'light'}.png"
        open_page(page, dark, f"--screenshot={path}", f"--window-size={WIDTH},{height}")
        print(path)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: browser.py REPORT.html [FOLDER]")
    try:
        if len(sys.argv) == 3:
            photograph(sys.argv[1], sys.argv[2])
        print(check(sys.argv[1]))
    except Missing as missing:
        print(missing)
        sys.exit(77)
    except RuntimeError as error:
        sys.exit(f"browser.py: {error}")
