#!/bin/bash
# schemathesis on REST: requests made from api/openapi.json, good and bad ones, alone and one after another.
#   TRIMTAB_SCHEMATHESIS_SECONDS   120
. "$(dirname "$0")/lib.sh"
python_tool schemathesis 4.32.5
export HOME="$DIR" # it keeps examples and reports

server_start 127.0.0.1:0
# the two streams of events never end; a wait may take a minute
(cd "$DIR" && "$TOOLS/python/bin/schemathesis" --config-file "$ROOT/tests/judges/schemathesis.toml" run "$ROOT/api/openapi.json" \
    --url "http://$ADDR" -H "Authorization: Bearer $TOKEN" --phases coverage,fuzzing,stateful --mode all -n 50 \
    --max-time "${TRIMTAB_SCHEMATHESIS_SECONDS:-120}" --request-timeout 100 --exclude-path-regex 'events$' \
    --continue-on-failure --no-color --seed 1) >"$DIR/judge.log" 2>&1
ok $? "requests from api/openapi.json, good and bad ones, find no wrong answer"
curl -sf "http://$ADDR/healthz" >"$DIR/judge.log" 2>&1
ok $? "the server goes on"
finish
