#!/bin/bash
# The agent at home on a host: what its commands leave behind, credentials that are exchanged, folders that go and come,
# mounts, modes and owners, and files that others edit.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"

holds() { [ "$(cat "$DIR/$1" 2>/dev/null)" = "$2" ]; }
skip() { N=$((N + 1)); echo "ok $N - $1 # SKIP $2"; }

server_start 127.0.0.1:0
config() { # config [sections]: the agent's settings; further lines of [files "t"] come on standard input
    cat >"$DIR/agent.conf" <<E2
servers = $ADDR
token_file = ${TOKEN_FILE:-$DIR/sd/admin.token}
data_dir = $DIR/ad
admin_listen = 127.0.0.1:0
admin_address_file = $DIR/admin
retry_interval = 300ms
verify_interval = 300ms
[scope "t"]
namespaces = host
kinds = file
[files "t"]
scope = t
target = $DIR/target
E2
    cat >>"$DIR/agent.conf"
}

# ---- what can be known before it starts
probe() { "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" --check_config 2>"$DIR/out"; }
config <<'E2'
check = ! grep -q BAD {stage}/*
reload = exec true
E2
probe
ok $? "a configuration whose commands, folders and labels are there passes its check"
bad=0
refused() { # refused WORDS LINE...: the section with this further line does not pass, and the story has the words
    printf '%s\n' "$2" | config
    [ -z "$3" ] || sed -i "$3" "$DIR/agent.conf"
    if probe || ! grep -q "$1" "$DIR/out"; then bad=1; echo "# $1: $(cat "$DIR/out")"; fi
}
refused 'files "t".*check begins with /nonexistent/check' 'check = /nonexistent/check {stage}'
refused 'reload begins with no-such-program' 'reload = exec no-such-program reload'
refused 'no command that the shell understands' 'check = if true'
refused 'in a folder that is not there' '' 's|^target.*|target = /nonexistent/folder/target|'
refused 'scope "t".*no label "zone"' '' 's|^namespaces.*|namespaces = host/{zone},host|'
[ $bad = 0 ]
ok $? "a missing command, folder or label is found, and its section named"

# ---- what commands leave behind
put host/file/a a1
config <<'E2'
reload = sh -c '(sleep 0.1 >/dev/null 2>&1 &); true'
E2
if unshare -pf --kill-child --mount-proc true 2>/dev/null; then
    unshare -pf --kill-child --mount-proc "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" 2>>"$DIR/agent.log" &
    PROGRAM=$!
    until_ holds target/a a1
    for i in 2 3 4 5; do
        put host/file/a "a$i"
        until_ holds target/a "a$i" && until_ says '"state":"ok"'
    done
    first=$(pgrep -P "$PROGRAM")
    no_zombies() { ! ps --ppid "$first" -o stat= | grep -q Z; }
    until_ no_zombies
    ok $? "as process 1 it reaps what its reloads have left behind"
    kill "$first"
    wait "$PROGRAM"
    PROGRAM=
else
    skip "as process 1 it reaps what its reloads have left behind" "no PID namespaces here"
fi

# ---- a reload that the agent does not live to see
id=$(instances | pick 'a.instances.length ? a.instances[0].instance.id : ""')
[ -z "$id" ] || until_ api DELETE "/v1/instances/$id"
rm -rf "$DIR/ad" "$DIR/target"
cat >"$DIR/reload" <<'E2'
#!/bin/bash
# Says that it has begun, waits for as long as it is told to, and makes the program run what is there.
echo $$ >"$1/reloading"
while [ -e "$1/slow" ]; do sleep 0.02; done
cp "$1/target/a" "$1/running"
E2
chmod +x "$DIR/reload"
config <<E2
reload = exec $DIR/reload $DIR
E2
agent_start
until_ holds running a5 && until_ says '"state":"ok"'
touch "$DIR/slow"
rm "$DIR/reloading"
put host/file/a a6
until_ test -s "$DIR/reloading"
kill -9 "$AGENT" "$(cat "$DIR/reloading")"
wait "$AGENT" 2>/dev/null
rm "$DIR/slow" "$DIR/reloading"
holds target/a a6 && holds running a5
ok $? "the agent is killed between the switch and the end of the reload"
agent_start
until_ holds running a6 && until_ says '"state":"ok"'
ok $? "its next start tells the program"
touch "$DIR/slow"
rm "$DIR/reloading"
put host/file/a a7
until_ test -s "$DIR/reloading"
kill -TERM "$(cat "$DIR/reloading")" "$AGENT"
wait "$AGENT"
rm "$DIR/slow"
agent_start
until_ holds running a7 && until_ says '"state":"ok"' && ! grep -q RELOAD_FAILED "$DIR/agent.log"
ok $? "a reload that ends with the agent is no verdict on the content"
agent_stop

# ---- files that others alter
config <<E2
reload = echo x >>$DIR/reloads
on_edit = restore
E2
sed -i 's/^verify_interval.*/verify_interval = 1h/' "$DIR/agent.conf"
put host/file/conf.d/b b1
agent_start
until_ holds target/conf.d/b b1 && until_ says '"state":"ok"' && in_status '"watching": "events"'
ok $? "folders with files of the agent are watched"
reloads=$(wc -l <"$DIR/reloads")
echo edited >"$DIR/target/a"
until_ holds target/a a7
rm "$DIR/target/conf.d/b"
until_ holds target/conf.d/b b1
chmod 0600 "$DIR/target/a"
mode_is() { [ "$(stat -c %a "$DIR/target/$1")" = "$2" ]; }
until_ mode_is a 644
until_ grep -q "local_edit.*file=a.*restored" "$DIR/agent.log" && until_ grep -q "local_removal.*conf.d/b" "$DIR/agent.log"
ok $? "a file that was edited, removed or changed in mode is put right at once, and named"
more_reloads() { [ "$(wc -l <"$DIR/reloads")" -gt "$reloads" ]; }
until_ more_reloads
ok $? "and the program is told"
rm -rf "$DIR/target"
until_ holds target/a a7 && until_ holds target/conf.d/b b1
ok $? "a target that vanished comes back whole"
for i in 1 2 3; do
    echo "fight $i" >"$DIR/target/conf.d/b"
    until_ holds target/conf.d/b b1 || break
done
echo "mine" >"$DIR/target/conf.d/b"
until_ says '"code":"DRIFTED"' && holds target/conf.d/b mine
ok $? "what somebody else wants otherwise again and again is only told"
put host/file/a a8
until_ holds target/a a8 && holds target/conf.d/b mine
ok $? "and left alone when other files change"
printf b1 >"$DIR/target/conf.d/b"
until_ says '"state":"ok"'
ok $? "when it is as it was it counts as served again"
agent_stop
sed -i 's/^on_edit.*/on_edit = report/' "$DIR/agent.conf"
agent_start
until_ in_status '"watching": "events"' && until_ says '"state":"ok"'
echo "mine" >"$DIR/target/a"
until_ says '"code":"DRIFTED"' && holds target/a mine && in_status DRIFTED
ok $? "with on_edit = report nothing is put right by itself"
agent_stop
agent_start
until_ in_status DRIFTED && until_ in_status '"busy": false' && holds target/a mine
ok $? "nor by a start"
t instances retry "$(instances | pick 'a.instances[0].instance.id')" >/dev/null
until_ holds target/a a8 && until_ says '"state":"ok"'
ok $? "but by an order"
agent_stop

# ---- modes and owners
mkdir -p "$DIR/src/hooks"
printf '#!/bin/sh\n' >"$DIR/src/hooks/pre" && chmod 0755 "$DIR/src/hooks/pre"
echo key >"$DIR/src/key" && chmod 0600 "$DIR/src/key"
echo plain >"$DIR/src/plain" && chmod 0664 "$DIR/src/plain"
config <<'E2'
replace_foreign = yes
E2
printf a8 >"$DIR/a8" && t put host/file/a --file "$DIR/a8" --label team=web -m label >/dev/null
t publish host "$DIR/src" -m modes >/dev/null
agent_start
until_ holds target/plain plain && until_ says '"state":"ok"'
mode_is hooks/pre 755 && mode_is key 600 && mode_is plain 644
ok $? "published files keep their modes, and those that are writable for many do not stay so"
chmod 0644 "$DIR/src/hooks/pre"
t publish host "$DIR/src" -m plain >/dev/null
until_ mode_is hooks/pre 644
ok $? "a mode that was taken away goes"
cp "$DIR/target/a" "$DIR/src/a" && chmod 0755 "$DIR/src/a" && t publish host "$DIR/src/a" -m "with a mode" >/dev/null
until_ mode_is a 755 && t get host/file/a -o json | grep -q '"team"'
ok $? "and other metadata stays"
agent_stop
sed -i 's/^replace_foreign.*/&\nmodes = 0644/' "$DIR/agent.conf"
agent_start
until_ mode_is a 644 && mode_is key 600
ok $? "the host has the last word on modes"
if [ "$(id -u)" = 0 ]; then
    echo theirs >"$DIR/target/secret" && chmod 0640 "$DIR/target/secret" && chown nobody "$DIR/target/secret"
    put host/file/secret ours
    until_ holds target/secret ours && [ "$(stat -c '%U %a' "$DIR/target/secret")" = "nobody 640" ]
    ok $? "a file that is taken over keeps owner and mode"
    agent_stop
    agent_start
    put host/file/secret newer
    until_ holds target/secret newer && [ "$(stat -c '%U %a' "$DIR/target/secret")" = "nobody 640" ]
    ok $? "also when it changes after a restart of the agent"
    chmod 0644 "$DIR/target/secret"
    until_ mode_is secret 640
    ok $? "and that is what it is brought back to"
else
    skip "a file that is taken over keeps owner and mode" "needs root"
fi
agent_stop

# ---- an agent that has lost its notes
forget() { # the id, since the secret of the host went with the notes
    agent_stop
    until_ api DELETE "/v1/instances/$(instances | pick 'a.instances[0].instance.id')"
    rm -rf "$DIR/ad"
}
if touch "$DIR/x" && perl -e 'exit(syscall(188, $ARGV[0], my $n = "user.t", my $v = "x", 1, 0) ? 1 : 0)' "$DIR/x"; then # setxattr
    config </dev/null
    agent_start
    until_ holds target/plain plain && until_ says '"state":"ok"'
    forget
    echo mine >"$DIR/target/key"
    put host/file/plain newer
    del host/file/hooks/pre
    agent_start
    until_ holds target/plain newer && until_ test ! -e "$DIR/target/hooks/pre"
    ok $? "its files are its own still: they are replaced, and go when they were deleted meanwhile"
    until_ says FOREIGN_FILE && holds target/key mine && says 'replace_foreign = yes in .files'
    ok $? "but not one that somebody has altered, and the setting that helps is named"
    chmod 0600 "$DIR/target/key" && printf 'key\n' >"$DIR/target/key" && kill -HUP "$AGENT"
    until_ says '"state":"ok"'
    ok $? "which is taken over when it is what was published"
    forget
    server_stop
    rm -rf "$DIR/sd"
    server_start "$ADDR"
    put host/file/new n1
    agent_start
    until_ holds target/new n1 && holds target/plain newer
    ok $? "what another history knows nothing of stays"
    agent_stop
else
    skip "its files are its own still" "no extended attributes here"
fi

# ---- credentials that are exchanged
sum() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
cp "$DIR/sd/tokens" "$DIR/tokens" 2>/dev/null || : >"$DIR/tokens"
tokens() { # tokens TOKEN...: those that the server knows for the agent
    { cat "$DIR/tokens"; for token; do echo "h1 agent $(sum "$token")"; done; } >"$DIR/sd/tokens.new"
    chmod 600 "$DIR/sd/tokens.new"
    mv "$DIR/sd/tokens.new" "$DIR/sd/tokens"
    kill -HUP "$SERVER"
}
old=old-token-old-token-old-token-1234 new=new-token-new-token-new-token-5678
tokens $old
id=$(instances | pick 'a.instances.length ? a.instances[0].instance.id : ""')
[ -z "$id" ] || until_ api DELETE "/v1/instances/$id"
rm -rf "$DIR/ad"
printf $old >"$DIR/agent.token"
TOKEN_FILE=$DIR/agent.token config </dev/null
agent_start
until_ in_status '"connected": true' && grep -q token_readable "$DIR/agent.log"
ok $? "a token that everybody can read is warned about"
tokens $old $new
printf $new >"$DIR/agent.token.new" && chmod 600 "$DIR/agent.token.new" && mv "$DIR/agent.token.new" "$DIR/agent.token"
tokens $new
put host/file/b b1
until_ holds target/b b1
ok $? "a token that was exchanged without a word is taken when the old one is withdrawn"
printf 'labels = zone:a\n' >"$DIR/new.conf" && cat "$DIR/agent.conf" >>"$DIR/new.conf" && echo 'reload = true' >>"$DIR/new.conf"
cp "$DIR/new.conf" "$DIR/agent.conf"
kill -HUP "$AGENT"
until_ grep -q 'restart_needed.*files.*"t.*reload' "$DIR/agent.log" && grep 'restart_needed' "$DIR/agent.log" | grep -q labels
ok $? "what of a changed configuration waits for a restart is named"
echo '[nonsense' >>"$DIR/agent.conf"
kill -HUP "$AGENT"
until_ grep -q configuration_unusable "$DIR/agent.log"
ok $? "and one that makes no sense is told, with what stays"
agent_stop
ok $? "the agent ends orderly"
finish
