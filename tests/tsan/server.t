#!/bin/sh
# The server under ThreadSanitizer, driven by a client of another make: a data race that is reported fails it.
# Build: tsan/trimtabd
cd "$(dirname "$0")/../.." || exit 1
exec tests/e2e/sanitized thread "${TRIMTAB_TSAN_BIN:-build/tsan/bin}" 10-grpc-js.t
