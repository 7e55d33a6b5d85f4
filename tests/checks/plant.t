#!/bin/sh
# Planted defects: each patch of tests/plant breaks the product in one way that the model of judgement (tests/sim/judge.h)
# or of rights (I11, tests/sim/oracle.h) must find by itself, and each of tests/plant/lanes one that the scheduler of hub and
# lanes (tests/server/lanes.c) must find. They are applied one after the other to a copy of the tree, of which only these two programs are built.
#
#   TRIMTAB_PLANT_SEEDS   how many seeds each gets; a patch that does not apply, or is not found in them, is a failure
cd "$(dirname "$0")/../.." || exit 1
seeds=${TRIMTAB_PLANT_SEEDS:-1000}
work=$(mktemp -d "${TMPDIR:-/tmp}/trimtab-plant-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

n=0
failed=0
result() { # result not? NAME, and what there is to say
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        failed=1
        echo "not ok $n - $2"
    fi
    echo "$3" | sed 's/^/# /'
}

if [ -n "$TRIMTAB_QUICK" ]; then
    echo "ok 1 - planted defects # SKIP quick mode"
    echo "1..1"
    exit 0
fi

git ls-files -z --cached --others --exclude-standard -- . ':!tests/e2e' ':!docs' | xargs -0 tar cf - 2>/dev/null | tar xf - -C "$work" || exit 1
if ! (cd "$work" && cmake --preset release && ninja -C build/release sim server_lanes) >"$work/build.log" 2>&1; then
    tail -30 "$work/build.log" | sed 's/^/# /'
    echo "Bail out! the simulation cannot be built from a copy"
    exit 1
fi

judged() { # SEEDS: what the model of judgement finds in the tree as it is; nothing: no violation
    TRIMTAB_SIM_SEEDS=$1 TRIMTAB_SIM_FAILURES=1 "$work/build/release/tests/sim" 'no invariant' >"$work/sim.log" 2>&1
    grep -oE 'seed [0-9]+: (J[0-9]|I11): .*' "$work/sim.log" | head -1
}

scheduled() { # what the scheduler of hub and lanes finds
    "$work/build/release/tests/server_lanes" >"$work/lanes.log" 2>/dev/null
    status=$?
    grep -m1 -E 'lanes[_a-z]*\.c:[0-9]+' "$work/lanes.log" && return
    [ $status -lt 128 ] || echo "it ended by signal $((status - 128))"
}

found=$(judged 50)
[ -z "$found" ] && grep -q '^ok 1' "$work/sim.log"
result $? "without a defect nothing is found" "$found"

found=$(scheduled)
[ -z "$found" ] && grep -q '^ok 2' "$work/lanes.log"
result $? "without a defect the scheduler finds nothing" "$found"

for patch in tests/plant/*.patch tests/plant/lanes/*.patch; do
    name=$(basename "$patch" .patch)
    story=$(head -1 "$patch")
    if ! patch -d "$work" -p1 -s -F0 <"$patch" >"$work/patch.log" 2>&1; then
        result 1 "$name: $story" "the patch does not apply: $(head -3 "$work/patch.log")"
        continue
    fi
    case "$patch" in */lanes/*) program=server_lanes ;; *) program=sim ;; esac
    if (cd "$work" && ninja -C build/release $program) >"$work/build.log" 2>&1; then
        case "$program" in sim) found=$(judged "$seeds") ;; *) found=$(scheduled) ;; esac
        [ -n "$found" ]
        result $? "$name: $story" "${found:-not found by $program}"
    else
        result 1 "$name: $story" "$(grep -m3 error "$work/build.log")"
    fi
    patch -d "$work" -p1 -s -R <"$patch" >/dev/null || exit 1
done
echo "1..$n"
exit $failed
