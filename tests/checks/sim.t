#!/bin/sh
# The simulation with its full number of seeds, from the optimised build: 1,000, or 40 in quick mode.
# Build: release/sim
cd "$(dirname "$0")/../.." || exit 1
exec "${TRIMTAB_BUILD:-build/release}/tests/sim"
