#!/bin/bash
# Orders with a real agent: content that a check refused for a reason of the moment is tried again when it is published again
# or when somebody says so, and the stop switch of the fleet holds everything, over restarts of both sides.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

holds() { [ "$(cat "$DIR/target/app.conf" 2>/dev/null)" = "$1" ]; }
shows() { # shows PATTERN COMMAND...
    local pattern=$1
    shift
    t "$@" 2>&1 | grep -Eq -- "$pattern"
}
publish() { t put web/edge/file/app.conf --value "$1" -m "$1" "${@:2}"; }

server_start 127.0.0.1:0
cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/agent
instance_id = h1
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
[scope "web"]
namespaces = web/edge
[files "web"]
scope = web
target = $DIR/target
check = echo x >>$DIR/checks; test ! -f $DIR/dns-is-away
reload = echo x >>$DIR/reloads
E2
mkdir "$DIR/target"
publish v1 >/dev/null
agent_start
until_ holds v1
ok $? "an agent with a check"

touch "$DIR/dns-is-away"
publish v2 --wait --timeout 20 >/dev/null 2>&1
[ $? = 7 ] && holds v1
ok $? "what the check refuses is not applied, and the waiting command says so"

publish v2 --dry-run | grep -q 'dry run' && ! shows retry history --limit 1
ok $? "a dry run orders nothing"

publish v2 --wait --timeout 20 >"$DIR/out" 2>&1
[ $? = 7 ] && grep -q '1 instance will try again' "$DIR/out" && [ "$(wc -l <"$DIR/checks")" -ge 3 ]
ok $? "published again it is tried again, and the new verdict is waited for: still refused"

rm "$DIR/dns-is-away"
publish v2 --wait --timeout 20 >/dev/null 2>&1 && holds v2
ok $? "and once the reason is gone it is applied"

shows '^3 +.*retry' history --limit 3 &&  shows '"version": ?2,' get web/edge/file/app.conf -o json
ok $? "without a new version: the order stands in the history"

publish v2 >"$DIR/out" && ! grep -q 'try again' "$DIR/out" && shows '^v2|unchanged' get web/edge/file/app.conf
ok $? "nobody who serves it is told anything"

touch "$DIR/dns-is-away"
publish v3 --wait --timeout 20 >/dev/null 2>&1
agent_stop
rm "$DIR/dns-is-away"
t instances retry --resource web/edge/file/app.conf -m "dns is back" >"$DIR/out"
t instances retry h1 -m "dns is back" >>"$DIR/out"
server_stop
server_start "$ADDR"
agent_start
until_ holds v3
ok $? "an order is kept for who is offline, over a restart of the server"

both() { [ "$(api GET /v1/orders | pick 'a.orders[0].done + a.orders[1].done')" = 2 ]; }
until_ both
orders() { grep -c ordered_to_retry "$DIR/agent.log"; }
before=$(orders)
agent_stop
agent_start
until_ shows '^h1 .* ok ' instances
[ "$(orders)" = "$before" ]
ok $? "and comes once: not again after a restart"

t instances retry nobody >/dev/null && ! t instances retry 2>/dev/null && ! t fleet pause 2>/dev/null
ok $? "an order names somebody, and a pause its reason"

t fleet pause --reason "fire in the datacenter" >/dev/null && until_ shows '1 done, 0 pending' fleet status && shows '^paused since .*fire' fleet status
ok $? "the fleet is paused"

reloads=$(wc -l <"$DIR/reloads")
publish v4 --wait --timeout 1 >"$DIR/out" 2>&1
[ $? = 8 ] && holds v3 && until_ shows '^h1 .* held,paused .*PAUSED: fire' instances
ok $? "what is new is received and held, and never shown as applied"

t fleet pause --reason again 2>/dev/null
[ $? = 5 ]
ok $? "it cannot be paused twice"

agent_stop
echo edited >"$DIR/target/app.conf"
agent_start
until_ shows '^h1 .* held,paused ' instances
kill -HUP $AGENT
t instances retry h1 >/dev/null
told() { [ "$(api GET /v1/orders | pick 'a.orders[0].done')" = 1 ] && grep -q 'info reloaded' "$DIR/agent.log"; }
until_ told && in_status '"paused": true' && holds edited && [ "$(wc -l <"$DIR/reloads")" = "$reloads" ]
ok $? "an agent that starts in a pause honours it: nothing is restored, retried or reloaded"

t fleet resume --reason "it is out" >/dev/null && until_ holds v4
ok $? "resumed, all of it goes on"

until_ shows '^h1 .* ok ' instances && until_ shows '^running since .*it is out' fleet status && shows '1 done' fleet status
ok $? "and is shown as ok"
finish
