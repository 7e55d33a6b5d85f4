#!/bin/bash
# A log that lost records, or altered some, is noticed: by --check, at the start, by the high-water mark; and the ways out
# of it: a restore, or going on with the loss. Whatever way, no host deletes what the log does not know.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

on_failure() { { cat "$DIR/out"; tail -n 4 "$DIR/server.log"; } 2>/dev/null | sed 's/^/# /'; }
d() { "$BIN/trimtabd" --data_dir="$DIR/sd" "$@" >"$DIR/out" 2>&1; } # trimtabd with a folder that no server has
refuses() { # refuses TEXT [flags]: the server does not start, and says so
    local text=$1
    shift
    timeout 30 "$BIN/trimtabd" --data_dir="$DIR/sd" --listen=127.0.0.1:0 "$@" >"$DIR/out" 2>&1
    local status=$?
    [ $status != 0 ] && [ $status != 124 ] && grep -q "$text" "$DIR/out"
}
alter() { # alter FILE FROM TO: the first place of a text
    perl -0777 -i -pe 's/\Q'"$2"'\E/'"$3"'/' "$1"
}
holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }

server_start 127.0.0.1:0
cat >"$DIR/agent.conf" <<E2
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
E2
cp "$DIR/sd/admin.token" "$DIR/token"
put web/edge/file/old one
for i in 1 2 3; do put shop/prod/item/x "\"value $i of MARKER\""; done
server_stop
d --check && grep -q "4 commits" "$DIR/out"
ok $? "--check of a folder that is whole says how much it proved"
cp -a "$DIR/sd" "$DIR/whole"

# ---- altered
alter "$DIR/sd/trimtab.db" "value 2 of MARKER" "VALUE 2 of MARKER"
! d --check && grep -q "record 3" "$DIR/out"
ok $? "--check names the record that was altered, and its exit status says so"
refuses "record 3"
ok $? "the start names it, too"
rm -rf "$DIR/sd" && cp -a "$DIR/whole" "$DIR/sd"

# ---- altered where the start does not look: before a snapshot, and not among the newest records
server_start "$ADDR" --snapshot_records=50
for i in $(seq 80); do put shop/prod/item/y "$i"; done
until_ grep -q " snapshot revision" "$DIR/server.log"
server_stop
alter "$DIR/sd/trimtab.db" "value 2 of MARKER" "VALUE 2 of MARKER"
server_start "$ADDR"
api GET "/v1/history/shop/prod/item/x" >"$DIR/out"
grep -q CORRUPT "$DIR/out" && grep -q "record 3" "$DIR/out"
ok $? "history says that it is damaged, and names the record, instead of giving what is not true"
until_ sh -c "'$BIN/trimtab' info | grep -q 'DAMAGED.*record 3'"
ok $? "the scrub finds it, and trimtab info says so"
api GET /metrics | grep -q '^trimtab_records_damaged 1$' && grep -q "record_damaged.*record 3" "$DIR/server.log"
ok $? "so do the metrics and the log"
api GET /v1/contents/shop/prod/item/x | grep -q "value 3 of MARKER"
ok $? "what is whole is served on"
server_stop
rm -rf "$DIR/sd" && cp -a "$DIR/whole" "$DIR/sd"

# ---- a log that ends too early, and one that is gone
server_start "$ADDR"
agent_start
put web/edge/file/new two
until_ holds old one && until_ holds new two
ok $? "an agent has what was published before and after the copy"
server_stop
cp "$DIR/whole/trimtab.db" "$DIR/sd/trimtab.db"
refuses "ends at revision 4, but 5 was acknowledged" && grep -q "accept_loss" "$DIR/out"
ok $? "an older copy of the database is refused, with the way out"
! d --check && grep -q "5 was acknowledged" "$DIR/out"
ok $? "--check says the same"
rm "$DIR/sd/trimtab.db"
refuses "there is no database" && grep -q "restore" "$DIR/out" && [ ! -e "$DIR/sd/trimtab.db" ]
ok $? "a folder in use without its database is refused, and none is made"
"$BIN/trimtabd" --data_dir="$DIR/other" --accept_loss=another >/dev/null && cp "$DIR/other/trimtab.db" "$DIR/sd/"
refuses "not the store that this data folder had"
ok $? "so is another database"
rm "$DIR/sd/trimtab.db"

# ---- a folder that is brought back whole agrees with itself; an agent proves what is missing
cp -a "$DIR/sd" "$DIR/empty" && rm -rf "$DIR/sd" && cp -a "$DIR/whole" "$DIR/sd"
server_start "$ADDR"
until_ sh -c "'$BIN/trimtab' info | grep -q 'LOST.* revision 5 '"
ok $? "trimtab info says that an instance proved to know more than the log"
api GET /metrics | grep -q '^trimtab_records_lost_total [1-9]' && grep -q "records_lost head=4 cursor=5" "$DIR/server.log"
ok $? "so do the metrics and the log"
holds new two
ok $? "and the host keeps what the log does not know"
server_stop
rm -rf "$DIR/sd" && cp -a "$DIR/empty" "$DIR/sd"

# ---- restore
d --restore="$DIR/none" || grep -q "there is no file" "$DIR/out"
ok $? "a restore of nothing says so"
cp "$DIR/whole/trimtab.db" "$DIR/damaged" && alter "$DIR/damaged" "value 2 of MARKER" "VALUE 2 of MARKER"
! d --restore="$DIR/damaged" && grep -q "record 3" "$DIR/out" && [ ! -e "$DIR/sd/trimtab.db" ]
ok $? "a damaged backup is not restored"
d --restore="$DIR/whole/trimtab.db"
ok $? "a backup is restored into a folder without a database"
! d --restore="$DIR/whole/trimtab.db" && grep -q "there is a database already" "$DIR/out"
ok $? "but not over one"
server_start "$ADDR"
api GET /v1/commits | grep -q '"action":"restore"'
ok $? "the log says that it was restored"
put web/edge/file/old three
until_ holds old three
ok $? "the agent takes what is published then"
store=$(api GET /v1/info | grep -o '"store_id":"[0-9a-f]*"')

# ---- going on with a loss
server_stop
rm "$DIR/sd/trimtab.db"
d --accept_loss="the disk died" && d --check
ok $? "a loss is accepted with a reason, and the folder is whole again"
server_start "$ADDR"
api GET /v1/commits | grep -q '"message":"the disk died","action":"accept-loss"\|"action":"accept-loss"'
ok $? "the log begins with it"
[ "$store" != "$(api GET /v1/info | grep -o '"store_id":"[0-9a-f]*"')" ]
ok $? "the store is another one then"
finish
