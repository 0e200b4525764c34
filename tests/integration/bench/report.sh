#!/bin/bash
# report.sh - the report stands alone, says who wins and who is missing, and holds pictures that are well-formed
. "$(dirname "$0")/../lib.sh"

$python -c 'import matplotlib' 2>/dev/null || skip "the report's pictures want matplotlib (python3-matplotlib)"
export MPLCONFIGDIR=$work
here=$(dirname "$(readlink -f "$0")")
for kind in rivals skipped; do
    $python "$here/canned.py" "$root" "$work/$kind.json" "$kind"
    (cd "$root/bench" && $python -m harness.report "$work/$kind.json" "$work/$kind") >"$work/$kind.txt"
    [ "$(cat "$work/$kind.txt")" = "$work/$kind/report.html" ] || fail "no report: $(cat "$work/$kind.txt")"
done
$python - "$work" <<'END'
import json, pathlib, re, sys
import xml.etree.ElementTree as xml
work = pathlib.Path(sys.argv[1])
PLOTS = {"latency-distributions", "slow-down-of-sort", "throughput-against-depth", "cost-of-a-region", "getting-64-bytes"}

def text_of(html):
    return re.sub(r"<[^>]*>", " ", re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.S))

pages = {}
for kind in ("rivals", "skipped"):
    folder = work / kind
    page = pages[kind] = (folder / "report.html").read_text()
    # Nothing outside of the file, not even by name.
    assert not re.search(r"https?:|//[a-z]|<script|<link|<img|@import", page), re.search(r".{40}(https?:|<script|<link|<img)", page)
    assert "prefers-color-scheme: dark" in page and "var(--ink)" in page
    assert {path.stem for path in (folder / "plots").glob("*.svg")} == PLOTS
    for path in (folder / "plots").glob("*.svg"):
        assert xml.parse(path).getroot().tag.endswith("svg"), path
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG"), path
    pictures = re.findall(r"<svg .*?</svg>", page, re.S)
    assert len(pictures) == len(PLOTS) == page.count("<section>") == len(re.findall(r"<section>.*?<table>", page, re.S))
    identities = []
    for picture in pictures:
        root = xml.fromstring(picture.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        own = [element.get("id") for element in root.iter() if element.get("id")]
        identities += own
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', picture))
        assert used and used <= set(own), used - set(own)
        assert len(picture) > 2000 and root.get("aria-label"), picture[:200]
    assert len(identities) == len(set(identities)), "pictures share names"
    for figure in json.loads((work / f"{kind}.json").read_text())["figures"]:
        assert figure["name"] in text_of(page), figure["name"]

rivals, skipped = text_of(pages["rivals"]), text_of(pages["skipped"])
assert "1 of 2 goals are met" in rivals and "not met" in rivals
goals = rivals[rivals.index("Goals"):rivals.index("Where a rival wins")]
assert goals.index("eth.encrypted.read_64B.p50") < goals.index("eth.plain.read_64B.p50") and "p99" not in goals
wins = rivals[rivals.index("Where a rival wins"):rivals.index("the numbers")]
assert "Getting 64 bytes: UCX get (9 us, cxe 11)" in wins and "redis" not in wins, wins
assert "Slow-down of sort, 10 per cent of the memory that is local: zram (5.5 x, cxe 9.1; a bound: no network in it)" in wins
assert "Slow-down of sort, 100 per" not in wins, wins
assert "Skipped" not in rivals and re.search(r"Skipped\s+redis GET: is not installed\s+UCX get: is not installed", skipped), skipped
assert "Getting 64 bytes:" not in skipped  # nobody is left who could win
assert "a &lt;setting&gt; &amp; more" in pages["rivals"]
END
