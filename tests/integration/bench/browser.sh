#!/bin/bash
# browser.sh - Chromium can look at the report, light and dark, and at a broken one it is heard to complain
. "$(dirname "$0")/../lib.sh"

$python -c 'import matplotlib' 2>/dev/null || skip "the report's pictures want matplotlib (python3-matplotlib)"
command -v chromium >/dev/null || skip "there is no chromium"
export MPLCONFIGDIR=$work
$python "$(dirname "$(readlink -f "$0")")/canned.py" "$root" "$work/canned.json"
(cd "$root/bench" && $python -m harness.report "$work/canned.json" "$work/report") >/dev/null

look() {
    $python "$root/bench/harness/browser.py" "$1" >"$work/seen.txt" 2>&1
}

# broken WORDS PROGRAM: after this change to the page the complaint has these words
broken() {
    $python -c "import sys; page = open(sys.argv[1]).read(); changed = ($2)(page); assert changed != page
open(sys.argv[2], 'w').write(changed)" "$work/report/report.html" "$work/broken.html"
    ! look "$work/broken.html" || fail "a page with '$1' passed"
    grep -q "$1" "$work/seen.txt" || fail "instead of '$1': $(cat "$work/seen.txt")"
}

look "$work/report/report.html" || fail "$(cat "$work/seen.txt")"
grep -qx '5 pictures, light and dark' "$work/seen.txt" || fail "$(cat "$work/seen.txt")"
broken "nothing can be seen" "lambda page: page.replace('<svg ', '<svg hidden ', 1).replace('<svg hidden ', '<i ', 1)"
broken "is not defined" "lambda page: page.replace('</body>', '<script>nothing()</script></body>')"
broken "is light" "lambda page: page.replace('(prefers-color-scheme: dark)', 'print')"
broken "labels lie on others" "lambda page: page.replace('-text_', '-text_0\"><path d=\"M 0 0 H 900 V 900\"/></g><g id=\"x-text_', 1)"
