#!/bin/bash
# The agent with a real server: delivers, refuses, restarts without the server, resumes with the difference only, and
# converges whatever kills it.
#   TRIMTAB_BIN: the folder of the binaries; TRIMTAB_AGENT_KILLS: how often it is killed, 20
. "$(dirname "$0")/lib.sh"

put() { printf '%s' "$2" | api PUT "/v1/resources/web/edge/file/$1" --data-binary @- >/dev/null; }
del() { api DELETE "/v1/resources/web/edge/file/$1" >/dev/null; }
holds() { [ "$(cat "$DIR/target/$1" 2>/dev/null)" = "$2" ]; }

cat >"$DIR/check" <<'E2'
#!/bin/sh
# A check as a program would have one: names the file that it does not like.
cd "$1" && ! grep -rl BAD .
E2
chmod +x "$DIR/check"
server_start 127.0.0.1:0
cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/ad
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
[scope "web"]
namespaces = web/edge
kinds = file
[files "t"]
scope = web
target = $DIR/target
check = $DIR/check {stage}
reload = echo x >> $DIR/reloads
E2

"$BIN/trimtab-agent" --config_file="$DIR/agent.conf" --check_config
ok $? "a good configuration passes its check"
echo "nonsense = 1" >"$DIR/bad.conf"
"$BIN/trimtab-agent" --config_file="$DIR/bad.conf" --check_config 2>"$DIR/out"
[ $? -ne 0 ] && grep -q "bad.conf:1" "$DIR/out"
ok $? "a wrong one is refused with file and line"
[ "$("$BIN/trimtab-agent" --version | cut -d' ' -f1)" = trimtab-agent ] && "$BIN/trimtab-agent" --help | grep -q reload_signal
ok $? "--version and --help answer"

# ---- delivering
put main.conf one
put conf.d/a.conf two
agent_start
until_ holds main.conf one && until_ holds conf.d/a.conf two
ok $? "what was published before the start is delivered"
put conf.d/a.conf three
until_ holds conf.d/a.conf three
ok $? "a change is delivered"
until_ says '"state":"ok"'
ok $? "the server hears that it is applied"
inode=$(stat -c %i "$DIR/target/main.conf")
put conf.d/b.conf b
until_ holds conf.d/b.conf b && [ "$inode" = "$(stat -c %i "$DIR/target/main.conf")" ]
ok $? "a file whose content does not change is not touched"
del conf.d/b.conf
until_ test ! -e "$DIR/target/conf.d/b.conf"
ok $? "a deletion removes the file"
head -c 3000000 /dev/urandom | tr B b >"$DIR/large" # no BAD in it by chance
api PUT /v1/resources/web/edge/file/large.bin --data-binary @"$DIR/large" >/dev/null
until_ cmp -s "$DIR/large" "$DIR/target/large.bin"
ok $? "three megabytes arrive byte for byte"

# ---- refusing
# Files are in place before the reload: only its acknowledgement tells that this one has run.
until_ says '"state":"ok"'
reloads=$(wc -l <"$DIR/reloads")
put conf.d/a.conf BAD
until_ says CHECK_FAILED && holds conf.d/a.conf three
ok $? "a failing check keeps the old file, and the server knows why"
says 'conf.d/a.conf.*"message":"[^"]*conf.d/a.conf'
ok $? "the output of the check is in the refusal"
[ "$(t running web/edge/file/conf.d/a.conf -o json | pick "const r = a.resources[0]; [r.state, r.version - r.running, r.reason.slice(0, 12)].join()")" = "error,1,CHECK_FAILED" ]
ok $? "what it really runs is the version before, and the reason is told"
[ "$reloads" = "$(wc -l <"$DIR/reloads")" ]
ok $? "nothing is reloaded for what was refused"
printf '{"changes":[{"id":"web/edge/file/main.conf","text":"uno"},{"id":"web/edge/file/conf.d/z.conf","text":"BAD"}]}' |
    api POST /v1/commits --data-binary @- >"$DIR/out"
if grep -q revision "$DIR/out"; then
    until_ in_status '"HELD"' && holds main.conf one && [ ! -e "$DIR/target/conf.d/z.conf" ]
    ok $? "a refusal holds what was committed with it"
    put conf.d/z.conf good
    until_ holds conf.d/z.conf good && until_ holds main.conf uno
    ok $? "when the fault is mended the whole commit is delivered"
else
    N=$((N + 1))
    echo "ok $N - a refusal holds what was committed with it # SKIP no commits of several changes: $(head -c 80 "$DIR/out")"
fi
put other.conf fine
until_ holds other.conf fine
ok $? "another commit is delivered beside a refused one"

# ---- restarts
id=$(status | sed -n 's/.*"instance": "\(.*\)",/\1/p')
until_ in_status '"busy": false' # the file is there before its reload has run
digest=$(status | grep serving_digest)
same_digest() { [ "$digest" = "$(status | grep serving_digest)" ]; }
agent_stop
ok $? "the agent ends orderly"
server_stop
echo edited >"$DIR/target/main.conf"
rm "$DIR/target/other.conf"
agent_start
until_ holds main.conf uno && until_ holds other.conf fine && until_ holds conf.d/a.conf three
ok $? "without a server it serves what it served, and mends what was edited meanwhile"
grep -q "local_edit.*main.conf" "$DIR/agent.log" && grep -q "local_removal.*other.conf" "$DIR/agent.log"
ok $? "and says so"
until_ in_status CHECK_FAILED && until_ same_digest && in_status '"connected": false'
ok $? "it reports the same digest and the same refusal as before"
server_start "$ADDR"
until_ in_status '"connected": true' && until_ says CHECK_FAILED
ok $? "it connects when the server is back, and tells it the refusal"
says "\"sent_items\":0"
ok $? "nothing is sent again to who has it"
agent_stop
put other.conf finer
agent_start
until_ holds other.conf finer && says '"mode":"RESUME"' && says '"sent_items":1'
ok $? "it resumes with the difference only"
[ "$id" = "$(status | sed -n 's/.*"instance": "\(.*\)",/\1/p')" ]
ok $? "the instance id survives restarts"
put conf.d/a.conf good
until_ holds conf.d/a.conf good && until_ says '"state":"ok"'
ok $? "a mended file is delivered, and all is well"
"$BIN/trimtab-agent" --config_file="$DIR/agent.conf" 2>"$DIR/out"
[ $? -ne 0 ] && grep -q "in use by another process" "$DIR/out"
ok $? "a second agent on the same data folder is refused clearly"

# ---- a broken copy
agent_stop
cp "$DIR/ad/copy.db" "$DIR/copy.good"
printf 'XXXX' | dd of="$DIR/ad/copy.db" bs=1 seek=$(($(stat -c %s "$DIR/ad/copy.db") / 2)) conv=notrunc 2>/dev/null
agent_start
until_ test -e "$DIR/ad/copy.db.broken-1" && until_ grep -q copy_broken "$DIR/agent.log" && until_ says '"state":"ok"'
ok $? "an altered copy is set aside, and everything is received anew"
[ "$id" = "$(status | sed -n 's/.*"instance": "\(.*\)",/\1/p')" ]
ok $? "under the same instance id"

# ---- killed
RUNS=${TRIMTAB_AGENT_KILLS:-20}
[ -n "$TRIMTAB_QUICK" ] && RUNS=4
good=0
for run in $(seq $RUNS); do
    (for i in $(seq 30); do put "k/$((i % 7)).conf" "$run.$i"; done
     del k/0.conf) &
    writer=$!
    sleep "0.$((RANDOM % 40 + 10))"
    kill -9 "$AGENT"
    wait "$AGENT" 2>/dev/null
    agent_start
    wait $writer
    put mark.conf "$run"
    if until_ holds mark.conf "$run" && until_ says '"state":"ok"' && [ ! -e "$DIR/target/k/0.conf" ] &&
        holds k/1.conf "$run.29" && holds k/2.conf "$run.30" && holds k/6.conf "$run.27"; then
        good=$((good + 1))
    else
        echo "# run $run: $(ls "$DIR/target/k") $(cat "$DIR"/target/k/* | tr '\n' ' ')"
    fi
done
[ $good = $RUNS ]
ok $? "killed at random moments $RUNS times, it converges each time ($good)"
no_stage() { [ -z "$(ls -A "$DIR" | grep trimtab-)" ]; }
until_ no_stage
ok $? "and leaves no stage behind"
agent_stop
ok $? "the agent ends orderly after all that"
finish
