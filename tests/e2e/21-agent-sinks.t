#!/bin/bash
# Sinks of the agent with a real server: groups over two sinks, reloads that fail, the layout with links, signals,
# removals, files that are not ours, mutual TLS, and servers that come and go.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

holds() { [ "$(cat "$DIR/$1" 2>/dev/null)" = "$2" ]; }
lines() { wc -l <"$1" 2>/dev/null || echo 0; }

cat >"$DIR/reload" <<'E2'
#!/bin/sh
# A program that reads its files when it is told to: fails over what it cannot run with.
echo "$(cat "$1/run.conf")" >>"$2"
if grep -q NORUN "$1/run.conf"; then echo "cannot run with this"; exit 1; fi
E2
chmod +x "$DIR/reload"
server_start 127.0.0.1:0
write_config() { # write_config SERVERS
    cat >"$DIR/agent.conf" <<E2
servers = $1
token_file = $DIR/sd/admin.token
data_dir = $DIR/ad
labels = env:prod
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
retry_interval = 300ms
verify_interval = 200ms
[scope "one"]
namespaces = app/{env}
kinds = file
names = one/*,run.conf
[scope "two"]
namespaces = app/{env}
kinds = file
names = two/*
[files "one"]
scope = one
target = $DIR/t1
check = ! grep -r BAD {stage}
reload = $DIR/reload $DIR/t1 $DIR/reloads
mode = 0600
[files "two"]
scope = two
target = $DIR/t2
layout = symlink
check = test "\$TRIMTAB_STAGE" = {stage} && ! grep -r BAD2 \$TRIMTAB_STAGE
reload_signal = USR1
pid_file = $DIR/program.pid
E2
}
write_config "$ADDR"
cat >"$DIR/program" <<'E2'
#!/bin/bash
trap 'echo x >>"$1"' USR1
echo $$ >"$2"
while :; do sleep 0.05; done
E2
chmod +x "$DIR/program"
"$DIR/program" "$DIR/signals" "$DIR/program.pid" &
PROGRAM=$!

commit '{"changes":[{"id":"app/prod/file/one/a","text":"a1"},{"id":"app/prod/file/run.conf","text":"r1"},{"id":"app/prod/file/two/b","text":"b1"}]}'
agent_start
until_ holds t1/one/a a1 && until_ holds t2/two/b b1
ok $? "one commit reaches two sinks, through namespaces with labels"
[ "$(stat -c %a "$DIR/t1/one/a")" = 600 ] && [ -L "$DIR/t2/..data" ] && [ "$(readlink "$DIR/t2/two")" = ..data/two ]
ok $? "modes and links are as configured"
until_ test -s "$DIR/signals"
ok $? "the program of the second sink got its signal"
until_ says '"state":"ok"'
ok $? "all is well"
echo $((4294967296 + PROGRAM)) >"$DIR/program.pid"
signals=$(wc -l <"$DIR/signals")
commit '{"changes":[{"id":"app/prod/file/two/b","text":"b2"}]}'
until_ says 'RELOAD_FAILED.*holds no process id' && [ "$signals" = "$(wc -l <"$DIR/signals")" ]
ok $? "a number that is no process id is not cut to one, and the server knows that the program was not told"
sh -c 'exit 0' & # a process that has ended, and was waited for: nobody has its number
dead=$!
wait $dead
echo $dead >"$DIR/program.pid"
until_ says 'RELOAD_FAILED.*does not run' && holds t2/two/b b1
ok $? "nor is it told when nobody has the number"
touch -d '1 hour ago' "$DIR/program.pid"
echo "$PROGRAM" >"$DIR/program.pid.new" && touch -d '1 hour ago' "$DIR/program.pid.new" && mv "$DIR/program.pid.new" "$DIR/program.pid"
kill -HUP "$AGENT"
until_ says 'RELOAD_FAILED.*started after it was written' && [ "$signals" = "$(wc -l <"$DIR/signals")" ]
ok $? "a process that has got the number since is not signalled"
echo "$PROGRAM" >"$DIR/program.pid"
kill -HUP "$AGENT"
until_ holds t2/two/b b2 && until_ says '"state":"ok"'
ok $? "once the file is right it is told, and all is well again"
commit '{"changes":[{"id":"app/prod/file/two/b","text":"b1"}]}'
until_ holds t2/two/b b1 && until_ says '"state":"ok"'
ok $? "and what comes next is delivered"

# ---- groups over sinks
commit '{"changes":[{"id":"app/prod/file/one/a","text":"a2"},{"id":"app/prod/file/two/b","text":"BAD2"}]}'
until_ says CHECK_FAILED && until_ in_status '"HELD"'
ok $? "a check that fails in one sink holds the commit in the other"
holds t1/one/a a1 && holds t2/two/b b1
ok $? "both have the old files"
until_ says '"held_by":"file/two/b"'
ok $? "and the server knows because of what"
data=$(readlink "$DIR/t2/..data")
commit '{"changes":[{"id":"app/prod/file/one/c","text":"c1"}]}'
until_ holds t1/one/c c1 && [ "$data" = "$(readlink "$DIR/t2/..data")" ]
ok $? "a commit of its own passes beside it, without touching the other sink"
put app/prod/file/two/b b3
until_ holds t2/two/b b3 && until_ holds t1/one/a a2 && until_ says '"state":"ok"'
ok $? "mended, both go through together"

# ---- reloads that fail
put app/prod/file/run.conf NORUN
until_ says RELOAD_FAILED && holds t1/run.conf r1
ok $? "a reload that fails brings the old file back"
told_again() { [ "$(tail -n 1 "$DIR/reloads")" = r1 ]; }
until_ told_again
ok $? "and the program is told to read it again"
says 'cannot run with this'
ok $? "what it said is in the refusal"
before=$(lines "$DIR/reloads")
put app/prod/file/one/c c2
until_ holds t1/one/c c2
ok $? "another commit is delivered meanwhile"
put app/prod/file/run.conf r2
until_ holds t1/run.conf r2 && until_ says '"state":"ok"'
ok $? "mended, it is delivered"
before=$(lines "$DIR/reloads")
put app/prod/file/two/b b4
until_ holds t2/two/b b4
[ "$before" = "$(lines "$DIR/reloads")" ]
ok $? "a sink whose files do not change is not reloaded"

# ---- many at once, one of them bad
body=$(for i in $(seq 12); do printf 'x%s ' "$i"; done)
agent_stop
for i in $body; do
    [ "$i" = x7 ] && put "app/prod/file/one/$i" BAD || put "app/prod/file/one/$i" "$i"
done
agent_start
until_ holds t1/one/x1 x1 && until_ holds t1/one/x12 x12 && until_ holds t1/one/x8 x8
ok $? "of many commits in one batch the good ones are delivered"
until_ in_status CHECK_FAILED && [ ! -e "$DIR/t1/one/x7" ]
ok $? "and the bad one is not"
only_one() { [ "$(status | grep -c '"code"')" = 1 ]; }
until_ only_one
ok $? "and nothing else is held"
del app/prod/file/one/x7
until_ says '"state":"ok"'
ok $? "taken back, all is well"

# ---- files that are not ours
mkdir -p "$DIR/t1/one"
echo theirs >"$DIR/t1/one/theirs"
put app/prod/file/one/theirs ours
until_ says FOREIGN_FILE && holds t1/one/theirs theirs
ok $? "a file that somebody else has put there is refused by name and kept"
rm "$DIR/t1/one/theirs"
kill -HUP "$AGENT"
until_ holds t1/one/theirs ours
ok $? "moved away, it is delivered after a hang-up"
for name in a c theirs x1 x2 x3 x4 x5 x6 x8 x9 x10 x11 x12; do del "app/prod/file/one/$name"; done
until_ test ! -e "$DIR/t1/one" && holds t1/run.conf r2
ok $? "when the last file of a folder goes, the folder goes"

# ---- checks that hang
agent_stop
sed -i "s|^check = ! grep.*|check = if grep -r HANG {stage}; then sleep 1000; fi\ncheck_timeout = 300ms|" "$DIR/agent.conf"
agent_start
put app/prod/file/one/h HANG
until_ says 'no answer in 300 ms'
ok $? "a check that hangs is ended and counts as failed"
del app/prod/file/one/h
until_ says '"state":"ok"'
ok $? "and nothing hangs behind it"

# ---- several servers, tls
agent_stop
server_stop
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout "$DIR/ca.key" \
    -out "$DIR/ca.pem" 2>/dev/null
for who in server agent; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$who" -keyout "$DIR/$who.key" \
        -out "$DIR/$who.csr" 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1\n' >"$DIR/ext"
    openssl x509 -req -in "$DIR/$who.csr" -CA "$DIR/ca.pem" -CAkey "$DIR/ca.key" -CAcreateserial -days 2 \
        -extfile "$DIR/ext" -out "$DIR/$who.pem" 2>/dev/null
done
SCHEME=https
TLS=(--cacert "$DIR/ca.pem" --cert "$DIR/agent.pem" --key "$DIR/agent.key")
server_start 127.0.0.1:0 --tls_cert="$DIR/server.pem" --tls_key="$DIR/server.key" --tls_client_ca="$DIR/ca.pem" \
    --tls_client_auth=required
write_config "127.0.0.1:1,$ADDR"
sed -i "s|^token_file.*|tls_ca = $DIR/ca.pem\ntls_cert = $DIR/agent.pem\ntls_key = $DIR/agent.key|" "$DIR/agent.conf"
agent_start
until_ grep -q "belongs to another credential" "$DIR/agent.log"
ok $? "with another credential it is not the instance that it was"
id=$(instances | pick 'a.instances[0].instance.id') && until_ api DELETE "/v1/instances/$id" >/dev/null
until_ in_status '"connected": true' && until_ says '"state":"ok"'
ok $? "once its id is forgotten, with mutual TLS and no token it connects to the second of two servers"
put app/prod/file/one/tls secret
until_ holds t1/one/tls secret
ok $? "and is fed"
kill -9 "$SERVER"
wait "$SERVER" 2>/dev/null
until_ in_status '"connected": false'
ok $? "it notices that the server is gone"
server_start "$ADDR" --tls_cert="$DIR/server.pem" --tls_key="$DIR/server.key" --tls_client_ca="$DIR/ca.pem" \
    --tls_client_auth=required
until_ in_status '"connected": true' && put app/prod/file/one/tls again && until_ holds t1/one/tls again
ok $? "and comes back by itself when it is there again"
agent_stop
ok $? "the agent ends orderly"
finish
