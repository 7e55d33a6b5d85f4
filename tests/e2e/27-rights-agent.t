#!/bin/bash
# A host with a token of its own: what it gets with a grant, what it keeps and shows without, and what comes back with it.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }
export TRIMTAB_CONTEXTS="$DIR/contexts"

server_start 127.0.0.1:0
put web/edge/file/a one
put bank/vault/file/secret hidden
t token create host >"$DIR/host.token"
[ -s "$DIR/host.token" ]
ok $? "a token is made for the host"
cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = $DIR/host.token
data_dir = $DIR/ad
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
[scope "web"]
namespaces = web/edge
kinds = file
[files "t"]
scope = web
target = $DIR/target
E2
agent_start && until_ in_status 'lacks the right'
ok $? "without a grant the agent shows that, and which right it lacks"
[ ! -e "$DIR/target/a" ]
ok $? "and has nothing"
t grant token:host subscribe web --yes >/dev/null && until_ holds a one && until_ in_status '"connected": *true'
ok $? "with the grant it gets what it wants"
says '"identity":"host"'
ok $? "the instance belongs to the token"

t revoke token:host subscribe web --yes >/dev/null && until_ in_status 'lacks the right'
ok $? "when it is revoked the stream ends, and the agent shows why"
put web/edge/file/a two
holds a one
ok $? "it keeps what it has"
[ "$(api GET /v1/running?resource=web/edge/file/a | grep -c '"state":"ok"')" = 0 ]
ok $? "and is not said to run what it cannot get"
t grant token:host subscribe web --yes >/dev/null && until_ holds a two
ok $? "with the grant again it has the newest"

t token rotate host >"$DIR/new.token" && until_ in_status '"connected": *false'
ok $? "a rotated token ends the stream of the former secret"
cat "$DIR/new.token" >"$DIR/host.token"
put web/edge/file/a three
kill -HUP $AGENT
until_ holds a three
ok $? "the new secret comes in as the same instance, by a reload"
finish
