#!/bin/bash
# Nothing is deleted on a host without a recorded cause (I13): a server that comes back emptied, with few files and with
# many; what is published then goes on, what is deleted for a reason goes, and the right server ends it all.
#   TRIMTAB_BIN: the folder of the binaries; TRIMTAB_FILES: how many are many, 1500
. "$(dirname "$0")/lib.sh"

MANY=${TRIMTAB_FILES:-1500}

# agent NAME NAMESPACE: one of the hosts
agent() {
    cat >"$DIR/$1.conf" <<E2
servers = $ADDR
token_file = $DIR/token
data_dir = $DIR/ad-$1
instance_id = $1
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin-$1
[scope "s"]
namespaces = $2
[files "t"]
scope = s
target = $DIR/$1
reload = echo x >> $DIR/reloads-$1
E2
    rm -f "$DIR/admin-$1"
    "$BIN/trimtab-agent" --config_file="$DIR/$1.conf" 2>>"$DIR/agent.log" &
    PID[$3]=$!
    until_ test -s "$DIR/admin-$1"
}
on() { curl -sS "http://$(cat "$DIR/admin-$1")/status"; } # on NAME: its status
n_held() { on "$1" | pick 'a.held.length'; }
held() { [ "$(n_held "$1")" = "$2" ]; }
n_files() { find "$DIR/$1" -type f | wc -l; }
live() { on "$1" | grep -q '"phase": "live"' && on "$1" | grep -q '"connected": true'; }
back_with() { # back_with AWAY [AGAIN]: the data folder is put away under a name; it is empty then, or one that was put away
    server_stop
    mv "$DIR/sd" "$DIR/sd-$1"
    [ -z "$2" ] || mv "$DIR/sd-$2" "$DIR/sd"
    mkdir -p -m 700 "$DIR/sd"
    cp -p "$DIR/keep/"* "$DIR/sd/"
    server_start "$ADDR"
}
content() { [ "$(cat "$DIR/$1" 2>/dev/null)" = "$2" ]; }

server_start 127.0.0.1:0
mkdir "$DIR/keep"
cp -p "$DIR/sd/admin.token" "$DIR/sd/tokens" "$DIR/keep/"
cp "$DIR/sd/admin.token" "$DIR/token"
mkdir -p "$DIR/src/few" "$DIR/src/many/deep"
for i in 1 2 3 4 5; do echo "few $i" >"$DIR/src/few/f$i.conf"; done
for i in $(seq "$MANY"); do echo "many $i" >"$DIR/src/many/deep/m$i.conf"; done
t publish few "$DIR/src/few" -m first >/dev/null && t publish many "$DIR/src/many" -m first >/dev/null
agent h1 few 1
agent h2 many 2
until_ test -f "$DIR/h1/f5.conf" && until_ test -f "$DIR/h2/deep/m$MANY.conf"
ok $? "two hosts have their files"

reloads=$(wc -l <"$DIR/reloads-h1")
back_with right
until_ held h1 5 && until_ held h2 "$MANY"
ok $? "the server was emptied: everything is held"
[ "$(n_files h1)" = 5 ] && [ "$(n_files h2)" = "$MANY" ] && [ "$(wc -l <"$DIR/reloads-h1")" = "$reloads" ]
ok $? "no file is gone, and no program was told to reload"
until_ says HELD_DELETION && t instances -o json | grep -q HELD_DELETION
ok $? "the server shows what is held"

echo new >"$DIR/src/few/new.conf"
printf 'few 1, again' | api PUT /v1/resources/few/file/f1.conf --data-binary @- >/dev/null
printf 'new' | api PUT /v1/resources/few/file/new.conf --data-binary @- >/dev/null
until_ content h1/f1.conf "few 1, again" && until_ content h1/new.conf new && until_ held h1 4
ok $? "what is published arrives; just that name is held no more"
del few/file/new.conf
until_ test ! -f "$DIR/h1/new.conf"
ok $? "what is deleted by a commit goes"
content h1/f2.conf "few 2" && held h1 4
ok $? "the others stay"
echo edited >"$DIR/h1/f2.conf"
kill -HUP "${PID[1]}"
until_ content h1/f2.conf "few 2"
ok $? "a held file is looked after like others: a local edit is put right"

t instances release h1 -m "not wanted" 2>"$DIR/out" </dev/null
[ $? = 7 ] && grep -q few/file/f2.conf "$DIR/out" && grep -q -- --yes "$DIR/out" && [ "$(n_files h1)" = 5 ]
ok $? "a release names what would go, and asks"
printf 'kept' | api PUT /v1/resources/few/file/f3.conf --data-binary @- >/dev/null
until_ held h1 3 && t instances release h1 -m "not wanted" --yes >/dev/null 2>&1
until_ held h1 0 && until_ test ! -f "$DIR/h1/f2.conf" && content h1/f3.conf kept && [ "$(n_files h1)" = 2 ]
ok $? "then it lets go, of nothing else"
until_ test "$(t instances h1 -o json | pick 'a.instances[0].refused.length')" = 0
ok $? "and the server sees it"

kill "${PID[1]}" && wait "${PID[1]}"
agent h1 few 1
until_ live h1 && held h1 0 && [ "$(n_files h1)" = 2 ] && held h2 "$MANY"
ok $? "a restart of the agent changes nothing"

back_with empty right
until_ held h1 0 && until_ held h2 0
ok $? "the right server comes back: nothing is held any more"
until_ content h1/f1.conf "few 1" && [ "$(n_files h1)" = 5 ] && [ "$(n_files h2)" = "$MANY" ]
ok $? "and the hosts have what it has"
t rm few/file/f5.conf -m "not needed" >/dev/null
until_ test ! -f "$DIR/h1/f5.conf" && [ "$(n_files h1)" = 4 ]
ok $? "deletions are what they were"

server_stop
t_log=$(grep -c 'held items=' "$DIR/agent.log")
[ "$t_log" -ge 2 ] && ! grep -qE "ERROR|AddressSanitizer|runtime error" "$DIR/agent.log" "$DIR/server.log"
ok $? "the logs tell it, and nothing else"
finish
