#!/bin/bash
# "Applied, but it does not work": probes, commands and callers judge what real agents serve, and the server shows it.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

on_failure() {
    tail -n 8 "$DIR/agent.log" | sed 's/^/# /'
    instances | pick 'JSON.stringify(a.instances.map((i) => [i.instance.id, i.state, i.serving_revision, i.health]))' | sed 's/^/# /'
}
holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }
health() { instances | pick "const i = a.instances.find((i) => i.instance.id === 'h') || {}, h = i.health || {}; $1"; }
health_is() { [ "$(health "$1")" = "$2" ]; }
failing_at() { # failing_at REVISION SOURCE PIECE-OF-REASON
    [ "$(health '`${h.failing} ${h.revision} ${h.source}`')" = "true $1 $2" ] && health h.reason | grep -q "$3"
}
well_at() { health_is '`${!!h.failing} ${h.revision}`' "false $1"; }
revision() { health i.serving_revision; }
publish() { printf '%s' "$2" | api PUT "/v1/resources/$1" --data-binary @- | pick a.revision; } # its revision
say() { # say BODY [curl arguments]: to the agent, as a caller
    local body=$1
    shift
    curl -sS -o "$DIR/out" -w '%{http_code}' -H "authorization: Bearer $(cat "$DIR/ad/admin.token")" -d "$body" "$@" \
        "http://$(cat "$DIR/admin")/v1/health"
}
write_config() { # write_config: the sections of health come from standard input
    cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/ad
instance_id = h
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
[scope "web"]
namespaces = web/edge
[files "t"]
scope = web
target = $DIR/target
E2
    cat >>"$DIR/agent.conf"
}
agent_restart() {
    agent_stop
    agent_start
}

# A program that runs with what it is given: answers 200, 500 when its file says BAD, nothing when it says SILENT; and 200
# whatever the file says when something else has made it well.
cat >"$DIR/program.js" <<'E2'
const fs = require('fs');
const [file, port, well] = process.argv.slice(2);
require('http').createServer((q, x) => {
  const text = !fs.existsSync(well) && fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  if (/SILENT/.test(text)) return;
  x.writeHead(/BAD/.test(text) ? 500 : /MOVED/.test(text) ? 302 : 200);
  x.end('body');
}).listen(0, '127.0.0.1', function () { fs.writeFileSync(port, String(this.address().port)); });
E2
node "$DIR/program.js" "$DIR/target/app.conf" "$DIR/port" "$DIR/well" &
PROGRAM=$!
until_ test -s "$DIR/port" || exit 1
PORT=$(cat "$DIR/port")
server_start 127.0.0.1:0

# ---- settings
refused() { # refused LINES PIECE
    printf '[health "x"]\n%b\n' "$1" | write_config
    "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" --check_config 2>"$DIR/out"
    [ $? -ne 0 ] && grep -q -- "$2" "$DIR/out" || { echo "# $(cat "$DIR/out")"; return 1; }
}
refused 'every = 1s' 'health "x".*command or http' && refused 'command = true\nhttp = http://a/' 'not both' &&
    refused 'http = https://a/' 'http://HOST:PORT' && refused 'http = http://a b/' 'http://HOST:PORT' &&
    refused 'command = true\nevery = soon' 'every cannot be "soon"' && refused 'command = true\nfailures = 0' 'from 1 to 1000' &&
    refused 'command = true\nretry = 1ms' 'at least 10ms' && refused 'command = true\ntiemout = 1s' 'no setting "tiemout"' &&
    refused 'command = true\n[health "x"]' 'a second' && refused 'command = true\n[health]' 'needs a name' &&
    refused 'command = true\n[health "caller"]' 'who calls'
ok $? "settings of [health] that make no sense are refused, with what is wrong"

# ---- nobody judges
publish web/edge/file/app.conf one >/dev/null
write_config </dev/null
agent_start
until_ holds app.conf one && until_ says '"state":"ok"' && health_is i.health undefined
ok $? "an agent without judges says nothing of its health"

# ---- a probe over HTTP
write_config <<E2
[health "web"]
http = http://127.0.0.1:$PORT/healthz
every = 50ms
retry = 20ms
failures = 2
timeout = 300ms
E2
agent_restart
until_ well_at "$(revision)"
ok $? "a probe that passes makes it well"
r=$(publish web/edge/file/app.conf BAD)
until_ failing_at "$r" web "127.0.0.1:$PORT/healthz: HTTP status 500"
ok $? "a program that fails with what was applied shows: by its probe, with reason and revision"
t instances | grep -q '^h .* ok,failing .*failing at revision .* by web: http' && says '"in_sync":true'
ok $? "the list of instances says so too, beside that all is applied"
[ "$(api GET /metrics | awk '$1 == "trimtab_instances_failing" {print $2}')" = 1 ] && [ "$(metric failing)" = 1 ] &&
    [ "$(metric probes_failed_total)" -ge 2 ]
ok $? "metrics of server and agent count it"
r=$(publish web/edge/file/other.conf x)
until_ failing_at "$r" web 500
ok $? "another batch is judged anew: failing still, at its revision"
r=$(publish web/edge/file/app.conf good)
until_ well_at "$r"
ok $? "what is mended is well at the revision that mended it"
r=$(publish web/edge/file/app.conf MOVED)
until_ well_at "$r"
ok $? "a redirection is an answer"
r=$(publish web/edge/file/app.conf SILENT)
until_ failing_at "$r" web 'no answer in 300 ms'
ok $? "a program that does not answer fails"
touch "$DIR/well"
until_ health_is '!!h.failing' false
ok $? "whatever made it well, it shows"
rm "$DIR/well"
r=$(publish web/edge/file/app.conf fine)
until_ well_at "$r"
ok $? "and stays so with what is published"

# ---- a command
write_config <<E2
[health "shell"]
command = [ -e $DIR/well ] && exit 0; echo "\$TRIMTAB_PROBE of \$(cat $DIR/target/app.conf)"; grep -q SLOW $DIR/target/app.conf && sleep 30; ! grep BAD $DIR/target/app.conf
every = 50ms
retry = 20ms
timeout = 400ms
successes = 2
E2
agent_restart
until_ well_at "$(revision)"
ok $? "a command that passes makes it well"
r=$(publish web/edge/file/app.conf BAD)
until_ failing_at "$r" shell 'exit status 1: shell of BAD'
ok $? "one that fails has its output as the reason"
r=$(publish web/edge/file/app.conf SLOW)
until_ failing_at "$r" shell 'no answer in 400 ms'
ok $? "one that does not end is ended, and fails"
r=$(publish web/edge/file/app.conf good)
until_ well_at "$r"
ok $? "and well again"

# ---- restarts
r=$(publish web/edge/file/app.conf BAD)
until_ failing_at "$r" shell BAD
kill -9 "$SERVER" && wait "$SERVER" 2>/dev/null
server_start "$ADDR"
until_ failing_at "$r" shell BAD
ok $? "a server that was killed hears it anew"
since=$(health i.connected_since)
is_another_stream() { [ -n "$(health i.connected_since)" ] && [ "$(health i.connected_since)" != "$since" ]; }
kill -9 "$AGENT" && wait "$AGENT" 2>/dev/null
agent_start
until_ is_another_stream && until_ failing_at "$r" shell BAD
ok $? "an agent that was killed judges anew, and says the same"
kill "$SERVER" && wait "$SERVER" 2>/dev/null
touch "$DIR/well"
agent_well() { curl -sS "http://$(cat "$DIR/admin")/v1/health" | pick 'process.exit(a.judged && !a.failing ? 0 : 1)'; }
until_ agent_well
server_start "$ADDR"
until_ well_at "$r"
ok $? "what changed while the server was away is said when it is back"
rm "$DIR/well"
r=$(publish web/edge/file/app.conf 'BAD BAD')
until_ failing_at "$r" shell BAD
server_stop
kill -9 "$AGENT" && wait "$AGENT" 2>/dev/null
before=$(wc -l <"$DIR/agent.log")
agent_start
since_start() { tail -n +$((before + 1)) "$DIR/agent.log"; }
copied() { since_start | sed -n 's/.* copy_loaded .* revision=\([0-9]*\) .*/\1/p'; } # mostly 0: it was killed before its copy had more
judged_copy() { since_start | grep -q "failing health=shell revision=$(copied) "; }
until_ judged_copy
ok $? "what an agent finds of its copy alone is of what the copy knows, and no word about what a server gives it next"
server_start "$ADDR"
until_ failing_at "$r" shell BAD
ok $? "and is found anew, and said, when it has been confirmed"

# ---- callers
r=$(publish web/edge/file/app.conf good)
until_ well_at "$r"
[ "$(say '{"failing": true, "reason": "orders are lost"}')" = 200 ] && until_ failing_at "$r" caller 'orders are lost'
ok $? "a caller can say that it fails, over judges that do not see it"
agent_restart
server_stop
server_start "$ADDR"
until_ failing_at "$r" caller 'orders are lost'
ok $? "its word outlives agent and server"
r2=$(publish web/edge/file/other.conf y)
until_ health_is i.serving_revision "$r2" && until_ health_is "JSON.stringify(i.state)" '"ok"' && failing_at "$r" caller orders
ok $? "and counts against nothing that was applied later"
"$BIN/trimtab-agent" health ok --config_file="$DIR/agent.conf" && until_ well_at "$r2"
ok $? "trimtab-agent health ok takes it back"
"$BIN/trimtab-agent" --config_file="$DIR/agent.conf" health failing -m "by hand" && until_ failing_at "$r2" caller 'by hand'
ok $? "trimtab-agent health failing says it"
[ "$(say '{"failing": false}')" = 200 ] && until_ well_at "$r2"
ok $? "and well again"
codes() { for body in '' '[]' '{}' '{"failing": 1}' '{"failing": true, "reason": 1}' '{"failing": true, "x": 1}' '{"failing":true,"failing":false}'; do say "$body"; echo -n ' '; done; }
stranger() { curl -sS -o /dev/null -w '%{http_code}' -d '{"failing": true}' "$@" "http://$(cat "$DIR/admin")/v1/health"; }
[ "$(codes)" = '400 400 400 400 400 400 400 ' ] && [ "$(stranger)" = 401 ] && [ "$(stranger -H 'authorization: Bearer no')" = 401 ] &&
    [ "$(stranger -H 'authorization: Basic eDp5')" = 401 ] && well_at "$r2"
ok $? "nonsense is refused, and who has not the token too"
head -c 20000 /dev/zero | tr '\0' x >"$DIR/long"
[ "$(say "{\"failing\": true, \"reason\": \"$(cat "$DIR/long")\"}")" = 413 ] &&
    [ "$(say "{\"failing\": true, \"reason\": \"$(head -c 5000 "$DIR/long")\"}")" = 200 ] && until_ health_is h.reason.length 1024
ok $? "a reason is cut to a kilobyte, and a body has a limit"
[ "$(stat -c %a "$DIR/ad/admin.token")" = 600 ]
ok $? "the token is its owner's alone"
for words in 'health' 'health maybe' 'health ok -m x' 'health failing because' 'reload'; do
    "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" $words 2>/dev/null && break
done
[ $? -ne 0 ]
ok $? "other words are refused"

# ---- without gRPC
api GET "/v1/subscribe/poll?namespaces=web/edge&instance=poller&wait_ms=0" >"$DIR/out"
[ "$(api POST /v1/subscribe/ack -o "$DIR/out" -w '%{http_code}' -d '{"instance": "poller", "health": {"failing": true, "reason": "by hand"}}')" = 200 ] &&
    t instances poller | grep -q 'pending,failing.*failing at revision 0: by hand'
ok $? "who polls says it without an acknowledgement"

agent_stop
"$BIN/trimtab-agent" --config_file="$DIR/agent.conf" health ok 2>"$DIR/out"
[ $? = 9 ] && grep -q refused "$DIR/out"
ok $? "a command to an agent that does not run says so"
finish
