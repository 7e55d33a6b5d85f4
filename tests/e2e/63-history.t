#!/bin/bash
# Old versions of a resource that has many: found by marks, whatever the marks say, and in a log that has none.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

ID=shop/prod/item/n
DB=$DIR/sd/trimtab.db
on_failure() { { cat "$DIR/out"; tail -n 4 "$DIR/server.log"; } 2>/dev/null | sed 's/^/# /'; }

server_start 127.0.0.1:0 --snapshot_records=100
put shop/prod/item/other '"x"'
for i in $(seq 1 127); do put $ID "\"v$i\""; done
api POST /v1/rollouts --data-binary "{\"changes\":[{\"id\":\"$ID\",\"text\":\"\\\"gray\\\"\"}],
    \"plan\":{\"steps\":[{\"targets\":[{\"everyone\":true}]}]}}" >"$DIR/out"
t rollout abort "$(api GET /v1/rollouts | pick 'a.rollouts[0].id')" -m no >>"$DIR/out" 2>&1
ok $? "version 128 is a candidate that is rolled back"
for i in $(seq 129 300); do put $ID "\"v$i\""; done

URLS=()
for i in 1 2 64 126 127 128 129 130 200 255 256 257 299 300 301; do URLS+=("/v1/resources/$ID?version=$i"); done
URLS+=("/v1/history/$ID?before=131&limit=5" "/v1/history/$ID?before=1" "/v1/history/$ID?before=400&limit=3"
    "/v1/history/$ID?limit=1000" "/v1/diff?id=$ID&from=3&to=140")
dump() {
    local args=() url
    for url in "${URLS[@]}"; do args+=("http://$ADDR$url"); done
    curl -sS -m 60 -g -w '\n' -H "authorization: Bearer $TOKEN" "${args[@]}" >"$1"
}
is_right() { # every version that there is has its own content, in the order of URLS
    local want=""
    for i in 1 2 64 126 127 - 129 130 200 255 256 257 299 300 -; do want+="$i "; done
    [ "$(grep -v '^$' "$1" | head -n 15 | sed -E 's/.*"text":"\\"v([0-9]+)\\"".*/\1/; s/.*NOT_FOUND.*/-/' | tr '\n' ' ')" = "$want" ]
}
dump "$DIR/want"
is_right "$DIR/want"
ok $? "every version is found with its content, and one that is none is not"
api GET "/v1/history/$ID?before=131&limit=4" | pick 'a.versions.map(v => v.version).join()' >"$DIR/out"
[ "$(cat "$DIR/out")" = 130,129,127,126 ]
ok $? "history goes on from a version"
until_ sh -c "! curl -sS -H 'authorization: Bearer $TOKEN' http://$ADDR/metrics | grep -q 'trimtab_snapshots_total 0'"
server_stop

marks() { sqlite3 "$DB" "SELECT count(*) FROM mark; SELECT revision FROM marked"; }
head=$(sqlite3 "$DB" "SELECT max(revision) FROM log")
marks >"$DIR/out"
[ "$(tr '\n' ' ' <"$DIR/out")" = "1 $head " ]
ok $? "a server that stops has marked its log"
answers() { # answers SQL: the same after a change of the marks
    sqlite3 "$DB" "$1" && server_start 127.0.0.1:0 && dump "$DIR/got" && cmp "$DIR/want" "$DIR/got" >"$DIR/out"
}
answers "UPDATE mark SET revision = revision + 1"
ok $? "marks that point to another record change no answer"
server_stop
answers "UPDATE mark SET number = number + 1, revision = 100000000"
ok $? "nor do marks past the end"
server_stop
answers "DELETE FROM mark; DELETE FROM marked"
ok $? "nor does a log without marks"
dump "$DIR/got" # the thread that reads history has looked at the log since
server_stop
marks >"$DIR/out"
[ "$(tr '\n' ' ' <"$DIR/out")" = "1 $head " ]
ok $? "which is marked then"
finish
