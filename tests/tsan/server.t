#!/bin/bash
# The server under ThreadSanitizer, driven by end-to-end tests: what these say, and then that no data race was reported.
#   TRIMTAB_TSAN_BIN     binaries of the tsan preset, build/tsan/bin
#   TRIMTAB_TSAN_TESTS   tests, 10-grpc-js.t
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
export TRIMTAB_BIN=${TRIMTAB_TSAN_BIN:-$ROOT/build/tsan/bin}
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
# Reports go to files of their own: the tests do not look at the exit status of a server that they kill.
export TSAN_OPTIONS="log_path=$DIR/report exitcode=66 second_deadlock_stack=1 suppressions=$ROOT/tests/tsan.supp"
N=0
FAILED=0

ok() { # ok STATUS TITLE
    N=$((N + 1))
    if [ "$1" = 0 ]; then
        echo "ok $N - $2"
    else
        echo "not ok $N - $2"
        FAILED=1
    fi
}

# A build without the sanitizer would report nothing, and prove nothing.
nm "$TRIMTAB_BIN/trimtabd" | grep -q __tsan_init
ok $? "the server is built with ThreadSanitizer"
for name in ${TRIMTAB_TSAN_TESTS:-10-grpc-js.t}; do
    "$ROOT/tests/e2e/$name" >"$DIR/out" 2>&1
    status=$?
    sed -n 's/^/# /; /ok [0-9]/p; /# # /p' "$DIR/out"
    [ $status = 0 ] && grep -q '^ok' "$DIR/out" && ! grep -q '^not ok' "$DIR/out"
    ok $? "$name: $(grep -c '^ok' "$DIR/out") passed, status $status"
done
REPORTS=$(find "$DIR" -name 'report.*' -size +0)
if [ -n "$REPORTS" ]; then
    # shellcheck disable=SC2086  # a list of files
    cat $REPORTS | head -n 600 | sed 's/^/# /'
fi
[ -z "$REPORTS" ]
ok $? "ThreadSanitizer reports nothing"
echo "1..$N"
exit $FAILED
