#!/bin/bash
# The drill: a backup while writers commit, the server lost, the backup restored, and at once a publish that waits and a
# rollout, which both tell what is true.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

on_failure() { { cat "$DIR/out"; tail -n 4 "$DIR/server.log" "$DIR/agent.log"; } 2>/dev/null | sed 's/^/# /'; }
d() { "$BIN/trimtabd" --data_dir="$DIR/sd" "$@" >"$DIR/out" 2>&1; }
holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }
head_() { api GET /v1/info | grep -o '"head":"*[0-9]*' | grep -o '[0-9]*$'; }

has_head() { [ "$(head_)" -gt "$1" ]; }

server_start 127.0.0.1:0 --snapshot_records=20
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
check = ! grep -q bad {stage}/app.conf
E2
put web/edge/file/app.conf v1
agent_start
until_ holds app.conf v1
head -c 2000000 /dev/urandom >"$DIR/large"
for i in 1 2 3 4; do api PUT "/v1/resources/web/large/file/l$i" --data-binary "@$DIR/large" >/dev/null; done

# ---- under load
(
    i=0
    while [ ! -e "$DIR/stop" ]; do
        i=$((i + 1))
        put shop/prod/item/n "$i"
    done
) &
LOAD=$!
until_ has_head 45
until_ sh -c "! curl -sS -H 'authorization: Bearer $TOKEN' http://$ADDR/metrics | grep -q 'trimtab_snapshots_total 0'"
t admin backup "$DIR/backup.db" >"$DIR/out" 2>&1
ok $? "a backup is made while somebody commits"
touch "$DIR/stop"
wait $LOAD
"$BIN/trimtabd" --data_dir="$DIR/none" --store="sqlite:$DIR/backup.db" --check >"$DIR/out" 2>&1
ok $? "--check proves it"
[ "$(sqlite3 "$DIR/backup.db" 'SELECT count(*) > 0 AND sum(file) = 0 FROM snapshot')" = 1 ]
ok $? "the snapshots of the server are in it"
[ "$(stat -c %a "$DIR/backup.db")" = 600 ] && [ ! -e "$DIR/sd/backup.part" ] && [ ! -e "$DIR/backup.db.part" ]
ok $? "it is its owner's alone, and nothing else is left"
! t admin backup "$DIR/backup.db" 2>"$DIR/out" && grep -q "exists already" "$DIR/out"
ok $? "a backup is not written over another file"
printf 'reader reader %s\n' "$(printf secret | sha256sum | cut -d' ' -f1)" >>"$DIR/sd/tokens"
kill -HUP "$SERVER"
until_ curl -sSf -H "authorization: Bearer secret" "http://$ADDR/v1/info"
TRIMTAB_TOKEN=secret t admin backup "$DIR/other.db" 2>"$DIR/out"
[ $? = 4 ] && [ ! -e "$DIR/other.db" ] && [ ! -e "$DIR/other.db.part" ]
ok $? "who has no right to operate the server gets none"

# ---- what comes after the backup is lost
for i in 2 3 4 5; do put web/edge/file/app.conf v$i; done
until_ holds app.conf v5
server_stop
mkdir "$DIR/lost" && mv "$DIR"/sd/trimtab.db* "$DIR/lost/"
d --restore="$DIR/backup.db" && d --check
ok $? "the backup is restored, and the folder is whole"
server_start "$ADDR"
until_ holds app.conf v1
ok $? "the agent has the older content"
until_ says '"state":"ok"'

# ---- from the folder of a server that was stopped
newest() { sqlite3 "$1" 'SELECT max(revision) FROM snapshot'; }
snapshot=$(newest "$DIR/lost/trimtab.db")
"$BIN/trimtabd" --data_dir="$DIR/other" --restore="$DIR/lost/trimtab.db" >"$DIR/out" 2>&1 &&
    "$BIN/trimtabd" --data_dir="$DIR/other" --check >>"$DIR/out" 2>&1
ok $? "the database of a stopped server is restored, too"
[ "$(newest "$DIR/other/trimtab.db")" = "$snapshot" ] && ls "$DIR"/lost/trimtab.db-snapshot-* >/dev/null
ok $? "with the snapshots that lie beside it"

# ---- at once
echo bad >"$DIR/app.conf"
t publish web/edge "$DIR/app.conf" -m bad --wait --timeout 20 >"$DIR/out" 2>&1
[ $? = 7 ]
ok $? "a publish that the agent refuses is told so"
says '"state":"error"' && holds app.conf v1
ok $? "the instance shows it, and the host has the content from before"
echo good >"$DIR/app.conf"
t publish web/edge "$DIR/app.conf" -m good --wait --timeout 20 >"$DIR/out" 2>&1 && holds app.conf good
ok $? "a publish that it takes is told to be applied once it is"
t rollout start web/edge/file/app.conf --value gray --id h1 -m gray >"$DIR/out" 2>&1
until_ holds app.conf gray && id=$(api GET /v1/rollouts | grep -o '"id":"*[0-9]*' | head -1 | grep -o '[0-9]*$')
until_ sh -c "curl -sS -H 'authorization: Bearer $TOKEN' http://$ADDR/v1/rollouts/$id | grep -q gray_ok"
ok $? "a rollout reaches its target, and the target proves it"
t rollout confirm "$id" -m fine >"$DIR/out" 2>&1
until_ sh -c "curl -sS -H 'authorization: Bearer $TOKEN' http://$ADDR/v1/contents/web/edge/file/app.conf | grep -q gray"
ok $? "it is confirmed"

# ---- what the restored log does not know is held until somebody says that it may go
sed "s|h1|h2|; s|$DIR/ad|$DIR/ad2|; s|$DIR/target|$DIR/target2|; s|$DIR/admin|$DIR/admin2|" "$DIR/agent.conf" >"$DIR/agent2.conf"
"$BIN/trimtab-agent" --config_file="$DIR/agent2.conf" 2>>"$DIR/agent2.log" &
PID[2]=$!
held() { [ "$(api GET /v1/instances | grep -o HELD_DELETION | wc -l)" = "$1" ]; }
gone() { [ ! -e "$DIR/$1/later.conf" ] && [ -e "$DIR/$1/app.conf" ]; }
t release --restore --reason "no restore" --yes >"$DIR/out" 2>&1
[ $? = 0 ]
ok $? "there is something to release since the first restore, though nobody holds any of it"
t release --restore --reason again --yes >"$DIR/out" 2>&1
[ $? = 5 ] && grep -q "may go already" "$DIR/out"
ok $? "and only once"
rm -f "$DIR/backup.db"
t admin backup "$DIR/backup.db" >"$DIR/out" 2>&1
put web/edge/file/later.conf late
until_ [ -e "$DIR/target/later.conf" ] && until_ [ -e "$DIR/target2/later.conf" ]
ok $? "a file comes after the backup"
server_stop
mkdir "$DIR/lost2" && mv "$DIR"/sd/trimtab.db* "$DIR/lost2/"
d --restore="$DIR/backup.db" && server_start "$ADDR"
until_ held 2 && [ -e "$DIR/target/later.conf" ] && [ -e "$DIR/target2/later.conf" ]
ok $? "after the restore both hosts hold it"
t release --restore --yes >"$DIR/out" 2>&1
[ $? = 2 ] && t release --restore --reason "it was wrong anyway" </dev/null >"$DIR/out" 2>&1
[ $? = 7 -o $? = 6 ] && t release --restore --reason "only a look" --dry-run >"$DIR/out" 2>&1 && grep -q "2 instances held" "$DIR/out" && held 2
ok $? "without a reason, a word or more than a dry run it stays"
agent_stop
t release --restore --reason "it was wrong anyway" --yes >"$DIR/out" 2>&1
ok $? "it is released for all"
until_ gone target2 && until_ held 1
ok $? "who is connected deletes it"
t history --commits 2>/dev/null | grep -q "it was wrong anyway" || api GET /v1/commits | grep -q "it was wrong anyway"
ok $? "the history says why"
agent_start
until_ gone target && until_ held 0
ok $? "who was away deletes it when it is back"
finish
