#!/bin/bash
# promela.sh - the model of the directory's protocol: nothing wrong in it, every flaw found, its names those of the code
#
# CXE_MODEL_DEPTH=N explores more: 1 with doubled reads, 2 with those and leases, 3 with three clients.
depth=${CXE_MODEL_DEPTH:-0}
. "$(dirname "$0")/lib.sh"
for tool in spin gcc; do
    command -v $tool >/dev/null || skip "no $tool here"
done
model=$root/tests/model/directory.pml

# The model's mtypes, and the same from the code.
$python - "$root" <<'END' || fail "the model and the code do not name the same things"
import pathlib, re, sys

root = pathlib.Path(sys.argv[1])
model = (root / "tests/model/directory.pml").read_text()
header = (root / "fabricd/directory.h").read_text()
wire = (root / "proto/wire/wire.h").read_text()
messages = (root / "proto/wire/messages.def").read_text()
code_of_model = re.sub(r"mtype = \{[^}]*\};|/\*.*?\*/", "", model, flags=re.S)
declared = {name for names in re.findall(r"mtype = \{([^}]*)\};", model) for name in re.findall(r"\w+", names)}


def enumerators(text, enum):
    body = re.sub(r"/\*.*?\*/", "", re.search(r"enum %s \{(.*?)\}" % enum, text, re.S).group(1), flags=re.S)
    return set(re.findall(r"[A-Z_]{3,}", body))


agents = set(re.findall(r"OPERATION\(\w+, (\w+),[^\n]*OP_(?:MAY_)?AGENT", messages))
operations = set(re.findall(r"OPERATION\(\w+, (\w+),", messages))
wrong = 0


def compare(what, in_model, in_code):
    global wrong
    if in_model != in_code:
        print(f"{what}: only in the model {sorted(in_model - in_code)}, only in the code {sorted(in_code - in_model)}")
        wrong = 1


states = enumerators(header, "directory_state")
accesses = enumerators(header, "directory_access")
answers = enumerators(wire, "bi_state") - {"BI_STATE_ASK"}  # a question; in the model every answer's fate is known
assert len(states) == 3 and len(accesses) == 4 and len(agents) == 7, "this test does not read the code aright"
compare("states and accesses", {n for n in declared if n.startswith("DIRECTORY_")}, states | accesses)
compare("snoops", {n for n in declared if n.startswith("BI_SNP_")}, enumerators(wire, "bi_snp"))
compare("answers", {n for n in declared if n.startswith("BI_STATE_")}, answers)
# Of the operations without an agent the model has one that reads and one that writes.
compare("messages", (declared & operations) - {"MEM_RD", "CAS"}, agents)
unused = {n for n in declared & (states | accesses | agents | enumerators(wire, "bi_snp") | answers) if not re.search(r"\b%s\b" % n, code_of_model)}
compare("messages that the model uses", unused, set())
sys.exit(wrong)
END

# explore NAME FLAG...: 0: nothing wrong; 1: something. Prints how many states there were.
explore() {
    local name=$1
    shift
    mkdir -p "$work/$name"
    cd "$work/$name"
    spin -a "$@" "$model" >spin.out || fail "spin: $(tail -n 3 spin.out)"
    gcc ${optimise:--O2} -w -DSAFETY -DCOLLAPSE -o pan pan.c || fail "spin's program does not compile"
    ./pan -m"${search_depth:-1000000}" >pan.out 2>&1 || fail "pan: $(tail -n 3 pan.out)"
    grep -q "max search depth too small" pan.out && fail "$name: not everything was searched"
    echo "$name: $(grep -o '[0-9.e+]* states, stored' pan.out | head -n 1)"
    grep -q 'errors: 0$' pan.out
}

right() {
    explore "$@" || fail "spin found: $(grep -m 1 'pan:' "$work/$1/pan.out")"
}

right leases -DNO_DOUBLES
search_depth=10000000
[ "$depth" -lt 1 ] || right doubles -DNO_LEASES
[ "$depth" -lt 2 ] || right everything
[ "$depth" -lt 3 ] || right three -DCLIENTS=3 -DNO_LEASES -DNO_DOUBLES

# Each flaw in the model is one that spin sees.
search_depth=100000 optimise=-O0
flaws=$(grep -o 'FLAW_[A-Z_]*[A-Z]' "$model" | sort -u)
[ "$(wc -w <<<"$flaws")" -ge 9 ] || fail "where are the flaws?"
for flaw in $flaws; do
    (explore "$flaw" "-D$flaw") && fail "spin did not find $flaw"
    grep -m 1 'pan:1:' "$work/$flaw/pan.out" || fail "$flaw: spin ended otherwise: $(tail -n 2 "$work/$flaw/pan.out")"
done
