#!/bin/sh
# The pure cores under valgrind: no invalid read or write, no use of what was never written, no leak.
# Build: release/unit_base release/unit_model release/unit_tree release/unit_rollout release/unit_references release/unit_gray
# Build: release/unit_closure release/sim release/feed release/feed_gray release/feed_references
cd "$(dirname "$0")/../.." || exit 1
BIN="${TRIMTAB_BUILD:-build/release}/tests"
if [ -n "${TRIMTAB_QUICK:-}" ]; then
    echo "1..0 # SKIP quick mode"
    exit 0
fi
n=0; bad=0
check() { # PROGRAM [CASE]
    n=$((n + 1))
    if valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
        --errors-for-leak-kinds=definite,indirect "$BIN/$@" >/tmp/trimtab-valgrind.$$ 2>&1; then
        echo "ok $n - $* is clean"
    else
        sed 's/^/# /' /tmp/trimtab-valgrind.$$ | tail -40
        echo "not ok $n - $* is clean"
        bad=1
    fi
    rm -f /tmp/trimtab-valgrind.$$
}
check unit_base
check unit_model
check unit_tree
check unit_rollout "rollout"
check unit_references "reference"
check unit_gray "roll"
check unit_closure "memory"
check sim "a planted defect is found: a split"
check feed
check feed_gray "who"
check feed_references "comes"
echo "1..$n"
exit $bad
