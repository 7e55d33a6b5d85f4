#!/bin/bash
# Values for programs of the host: server, agent, a segment that the agent keeps, and a program that reads it with libtrimtab.
#   TRIMTAB_BIN: the folder of the binaries; TRIMTAB_BUILD: that of the build, for the program that reads
. "$(dirname "$0")/lib.sh"
PROBE=${TRIMTAB_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build/release}/tests/helpers/sdk_probe
SEGMENT=$DIR/run/trimtab/shop.segment
mkdir "$DIR/run"

on_failure() {
    tail -n 8 "$DIR/agent.log" | sed 's/^/# agent: /'
    tail -n 5 "$DIR/program" "$DIR/once" 2>/dev/null | sed 's/^/# program: /'
}
config() { # config [LINE]: the agent's settings; a further line of [segment "shop"]
    cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/ad
instance_id = host-1
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
verify_interval = 300ms
retry_interval = 300ms
[scope "shop"]
namespaces = shop/prod,shop/common
kinds = item
[segment "shop"]
scope = shop
file = $SEGMENT
mode = 0640
$1
E2
}
# starts NAME...: a program that starts now, and prints what it has under these names
starts() { printf '%s\n' "$@" | timeout 100 "$PROBE" segment "$SEGMENT" >"$DIR/once" 2>&1; }
has() { starts "$1" && grep -q "^value $1 .*$2" "$DIR/once"; } # has NAME WORDS
told() { grep -q "$1" "$DIR/program"; }                        # by the program that runs

# ---- settings
server_start 127.0.0.1:0
bad=0
refused() { # refused WORDS LINE
    config "$2"
    "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" --check_config 2>"$DIR/out" && bad=1
    grep -q "$1" "$DIR/out" || { bad=1; echo "# $1: $(cat "$DIR/out")"; }
}
refused 'segment "shop".*mode 660: others than the owner must not write' 'mode = 0660'
refused 'segment "shop".*file must be an absolute path' 'file = shop.segment'
refused 'segment "shop".*there is no .scope "none"' 'scope = none'
refused 'there is a .segment "shop". already' '[segment "shop"]'
refused 'it takes a size' 'max_bytes = many'
refused 'no setting "target".*it has scope, file' 'target = /tmp'
[ $bad = 0 ]
ok $? "settings of a segment that cannot do are refused, with the section and what would help"

# ---- values arrive
config
commit '{"changes":[{"id":"shop/prod/item/pool.max","text":"32"},{"id":"shop/common/item/name","text":"\"ship\""},{"id":"shop/common/item/pool.max","text":"8"}]}'
agent_start
mkfifo "$DIR/ask"
"$PROBE" segment "$SEGMENT" <"$DIR/ask" >"$DIR/program" 2>&1 &
PROGRAM=$!
exec 7>"$DIR/ask"
until_ told '^ready' && until_ told 'change pool.max - -> 32 ' && until_ told 'change name - -> "ship" ' && until_ says '"state":"ok"'
ok $? "a program has the values of the scope, the first namespace wins, and the instance says ok"
[ "$(stat -c %a "$SEGMENT")" = 640 ]
ok $? "the file has the mode of the agent's settings"

t put shop/prod/item/pool.max --value 64 --wait --timeout 100 >"$DIR/out" 2>&1 && has pool.max 'int 64 ' && until_ told 'change pool.max 32 -> 64 '
ok $? "when put --wait returns, whoever starts has the value, and who runs is told"
commit '{"changes":[{"id":"shop/prod/item/a","text":"1"},{"id":"shop/prod/item/b","text":"1"},{"id":"shop/prod/item/pool.max","delete":true}]}'
until_ told 'change pool.max 64 -> 8 ' && until_ told 'change a - -> 1 ' && until_ told 'change b - -> 1 '
revisions=$(grep -E '^change (pool.max 64|a -|b -)' "$DIR/program" | sed 's/.* at //' | sort -u | wc -l)
[ "$revisions" = 1 ]
ok $? "what was changed in one commit arrives in one"
t put shop/common/item/name --value '"boat"' --wait --timeout 100 >"$DIR/out" 2>&1 && has name 'text boat' &&
    t rollback shop/common/item/name -m "not that" >"$DIR/out" 2>&1 && until_ told 'change name "boat" -> "ship" ' && has name 'text ship'
ok $? "a rollback arrives"

# ---- others alter the file
forge() { # forge OLD NEW: of the same length, in every place of the file
    perl -e 'my ($f, $old, $new) = @ARGV; open my $h, "+<:raw", $f or die; local $/; my $all = <$h>;
        while ($all =~ /\Q$old\E/g) { seek $h, $-[0], 0; print $h $new }' "$SEGMENT" "$1" "$2"
}
restored() { [ "$(metric files_restored_total)" -ge "$1" ]; }
until_ says '"state":"ok"'
before=$(stat -c %i "$SEGMENT")
forge '"ship"' '"skip"'
until_ restored 1 && has name 'text ship' && [ "$(stat -c %i "$SEGMENT")" != "$before" ] &&
    grep -q 'segment_altered.*shop.segment.*not what was written' "$DIR/agent.log"
ok $? "altered bytes are found, told and put right"
! told 'skip'
ok $? "and no program has had them"
chmod 0600 "$SEGMENT"
until_ restored 2 && [ "$(stat -c %a "$SEGMENT")" = 640 ] && grep -q 'segment_altered.*has the mode 600 instead of 640' "$DIR/agent.log"
ok $? "so is another mode"
rm -r "$DIR/run/trimtab"
until_ restored 3 && has name 'text ship'
ok $? "and a folder that is gone"
t put shop/prod/item/a --value 2 --wait --timeout 100 >"$DIR/out" 2>&1 && until_ told 'change a 1 -> 2 '
ok $? "the program that ran all the time has followed, and gets what comes"

# ---- nobody is there
kill -9 "$AGENT" "$SERVER"
wait "$AGENT" "$SERVER" 2>/dev/null
AGENT=
SERVER=
has a 'int 2 ' && has name 'text ship' && has pool.max 'int 8 '
ok $? "server and agent are killed: a program still starts, with the last values"
exec 7>&-
wait "$PROGRAM"
ok $? "and the one that runs goes on to its end"
PROGRAM=
forge '"ship"' '"skip"'
: >"$DIR/agent.log"
agent_start
until_ has name 'text ship' && has a 'int 2 ' && grep -q segment_altered "$DIR/agent.log"
ok $? "without the server, an agent that starts puts right from its copy what was altered meanwhile"
agent_stop
cp -p "$SEGMENT" "$DIR/older"
rm "$SEGMENT"
agent_start
until_ has name 'text ship' && has a 'int 2 '
ok $? "and what is missing"
agent_stop

server_start "$ADDR"
agent_start
until_ says '"state":"ok"' && t put shop/prod/item/a --value 3 --wait --timeout 100 >"$DIR/out" 2>&1 && has a 'int 3 '
ok $? "with the server, changes come again"
agent_stop
mv "$DIR/older" "$SEGMENT"
has a 'int 2 '
ok $? "an older file is put there while no agent runs"
server_stop
agent_start
until_ has a 'int 3 '
ok $? "an agent that starts brings it to what its copy says, without the server"
agent_stop
finish
