#!/bin/bash
# Single bits that turn in a database, in a snapshot beside it, and in its write-ahead log after a kill: each is noticed at the start, at the read
# or by --check, or no answer changes. What is never seen is an answer that was altered.
#   TRIMTAB_BIN: the folder of the binaries; TRIMTAB_FLIPS: how many, 16; a quarter each of them in snapshot and log
#   TRIMTAB_FLIPS_SEED: of the places; printed
. "$(dirname "$0")/lib.sh"

FLIPS=${TRIMTAB_FLIPS:-16}
SEED=${TRIMTAB_FLIPS_SEED:-$RANDOM}
RANDOM=$SEED
on_failure() { tail -n 3 "$DIR/server.log" | sed 's/^/# /'; }

server_start 127.0.0.1:0 --snapshot_records=60
for i in $(seq 1 120); do
    put "shop/prod/item/n$((i % 5))" "\"value $i of something that is long enough to lie on pages of its own $(printf '%0900d' "$i")\""
done
del shop/prod/item/n4
commit '{"changes":[{"id":"shop/prod/item/n1","text":"\"the last one\""}]}'
api POST /v1/rollouts --data-binary \
    '{"changes":[{"id":"shop/prod/item/n0","text":"\"gray\""}],"plan":{"steps":[{"targets":[{"everyone":true}]}]}}' >/dev/null
t admin backup "$DIR/unused.db" >/dev/null 2>&1 # so that the log holds something else than commits, too

URLS=(/v1/info /v1/resources "/v1/commits?limit=1000" "/v1/rollouts?phase=all")
for i in 0 1 2 3 4; do
    URLS+=("/v1/contents/shop/prod/item/n$i" "/v1/history/shop/prod/item/n$i?limit=100")
done
for i in 3 9 57 88; do URLS+=("/v1/diff?revision=$i"); done
dump() { # one line for each: an answer, without what differs from start to start
    local args=() url
    for url in "${URLS[@]}"; do args+=("http://$ADDR$url"); done
    curl -sS -m 10 -g -w '\n' -H "authorization: Bearer $TOKEN" "${args[@]}" | grep -v '^$' |
        sed -E 's/"(started|instances|lost_revision|damage|chain)":("[^"]*"|[0-9]+),?//g'
}
until_ sh -c "! curl -sS -H 'authorization: Bearer $TOKEN' http://$ADDR/metrics | grep -q 'trimtab_snapshots_total 0'"
dump >"$DIR/want"
[ "$(wc -l <"$DIR/want")" = ${#URLS[@]} ] && grep -q "value 117" "$DIR/want"
ok $? "a server answers ${#URLS[@]} questions, and has written a snapshot"
kill -9 "$SERVER"
wait "$SERVER" 2>/dev/null
SERVER=
cp -a "$DIR/sd" "$DIR/killed"
server_start "$ADDR"
dump >"$DIR/got"
cmp -s "$DIR/want" "$DIR/got"
ok $? "after a kill it answers the same"
server_stop
cp -a "$DIR/sd" "$DIR/stopped"
[ -s "$DIR/killed/trimtab.db-wal" ] && [ ! -s "$DIR/stopped/trimtab.db-wal" ]
ok $? "one folder has a write-ahead log, the other has none"

flip() { # flip FILE: turns one bit and tells which
    local size at bit
    size=$(stat -c %s "$1")
    at=$(((RANDOM << 15 | RANDOM) % size))
    bit=$((RANDOM % 8))
    perl -e 'open my $f, "+<", $ARGV[0] or die; seek $f, $ARGV[1], 0; read $f, my $c, 1; seek $f, $ARGV[1], 0;
        print $f chr(ord($c) ^ 1 << $ARGV[2])' "$1" "$at" "$bit"
    echo "byte $at, bit $bit"
}
start_or_not() { # starts a server on the folder: 1 when it refuses
    rm -f "$DIR/addr"
    "$BIN/trimtabd" --data_dir="$DIR/sd" --listen=127.0.0.1:0 --address_file="$DIR/addr" 2>"$DIR/server.log" &
    SERVER=$!
    until [ -s "$DIR/addr" ]; do
        kill -0 "$SERVER" 2>/dev/null || { wait "$SERVER"; SERVER=; return 1; }
        sleep 0.01
    done
    ADDR=$(cat "$DIR/addr")
}
judge() { # prints what became of one flip
    "$BIN/trimtabd" --data_dir="$DIR/sd" --check >/dev/null 2>&1
    local checked=$?
    start_or_not || { echo start; return; }
    dump >"$DIR/got"
    kill -9 "$SERVER"
    wait "$SERVER" 2>/dev/null
    SERVER=
    # An answer is as it was, or says that something is damaged.
    if ! paste -d $'\001' "$DIR/want" "$DIR/got" | awk -F '\001' '$1 != $2 && $2 !~ /CORRUPT/ {bad = 1} END {exit bad}' ||
        [ "$(wc -l <"$DIR/got")" != ${#URLS[@]} ]; then
        echo altered
    elif ! cmp -s "$DIR/want" "$DIR/got"; then
        echo read
    elif [ $checked != 0 ]; then
        echo check
    else
        echo same
    fi
}

declare -A COUNT=([start]=0 [read]=0 [check]=0 [same]=0 [altered]=0)
for i in $(seq "$FLIPS"); do
    from=stopped file=trimtab.db
    [ $((i % 4)) = 0 ] && from=killed file=trimtab.db-wal
    [ $((i % 4)) = 1 ] && file=$(cd "$DIR/stopped" && ls trimtab.db-snapshot-* | tail -n 1)
    rm -rf "$DIR/sd" && cp -a "$DIR/$from" "$DIR/sd"
    place=$(flip "$DIR/sd/$file")
    found=$(judge)
    COUNT[$found]=$((COUNT[$found] + 1))
    [ "$found" != altered ] || { echo "# $file, $place: an altered answer"; diff "$DIR/want" "$DIR/got" | cut -c1-300 | sed 's/^/# /' | head -6; }
done
echo "# seed $SEED: noticed at the start ${COUNT[start]}, at a read ${COUNT[read]}, by --check ${COUNT[check]}; no answer changed ${COUNT[same]}"
[ "${COUNT[altered]}" = 0 ]
ok $? "of $FLIPS bits that turned none altered an answer"
[ $((COUNT[start] + COUNT[read] + COUNT[check])) -gt 0 ]
ok $? "and some were noticed"
finish
