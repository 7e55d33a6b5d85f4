#!/bin/sh
# The server under ThreadSanitizer, with more lanes than it would have by itself, driven by clients of another make: a data race
# that is reported fails it.
# Build: tsan/trimtabd
cd "$(dirname "$0")/../.." || exit 1
export TRIMTABD_LANES=4
exec tests/e2e/sanitized thread "${TRIMTAB_TSAN_BIN:-build/tsan/bin}" 10-grpc-js.t 11-http.t 15-guards.t 19-lanes.t
