#!/bin/bash
# An agent that comes back to its server is told of a commit that changes none of its files while it still applies the one
# before: once that is done it says that it is up to date with both.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

on_failure() { { cat "$DIR/out"; instances; tail -n 4 "$DIR/agent.log"; } 2>/dev/null | sed 's/^/# /'; }
holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }
received() { api GET /v1/instances | grep -qE "\"received_revision\": ?\"?$1\"?[,}]"; }
is_ok() { api GET /v1/instances | grep -qE '"state": ?"ok"'; }

server_start 127.0.0.1:0
cp "$DIR/sd/admin.token" "$DIR/token"
cat >"$DIR/agent.conf" <<E2
instance_id = h1
servers = $ADDR
token_file = $DIR/token
data_dir = $DIR/ad
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
[scope "web"]
namespaces = web/edge
[files "t"]
scope = web
target = $DIR/target
check = touch $DIR/checking; while [ -e $DIR/wait ]; do sleep 0.05; done
check_timeout = 10m
E2
put web/edge/file/app.conf v1
agent_start
until_ holds app.conf v1 && until_ is_ok
ok $? "the agent is up to date"
touch "$DIR/wait"
rm -f "$DIR/checking"
id=$(t rollout start web/edge/file/app.conf --value v2 --id h1 -m gray -o name 2>"$DIR/out")
until_ [ -e "$DIR/checking" ]
ok $? "it checks a candidate"
t rollout confirm "$id" -m "no need to wait" >"$DIR/out" 2>&1
head=$(api GET /v1/info | grep -oE '"head": ?"?[0-9]+' | grep -oE '[0-9]+$')
server_stop
server_start "$ADDR"
until_ received "$head" && ! is_ok && holds app.conf v1
ok $? "it is told that the candidate is stable for all, and has not applied it"
rm "$DIR/wait"
until_ holds app.conf v2 && until_ is_ok
ok $? "it has applied it, and says so of the newest commit"
finish
