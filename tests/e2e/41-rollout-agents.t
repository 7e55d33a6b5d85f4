#!/bin/bash
# Gray release with real agents: candidates go to growing batches, every agent's file is compared byte by byte at each
# step, and nobody outside gets a byte. Agents that stop, restart and join meanwhile, and a server that is killed.
#   TRIMTAB_BIN: the folder of the binaries; TRIMTAB_AGENTS: how many, 20
. "$(dirname "$0")/lib.sh"
AGENTS=${TRIMTAB_AGENTS:-20}

on_failure() {
    for i in $(seq "$AGENTS"); do echo "# agent $i: $(cat "$DIR/t$i/app.conf" 2>/dev/null)"; done
    tail -n 5 "$DIR/server.log" | sed 's/^/# /'
}
agent_start() { # agent_start NUMBER
    mkdir -p "$DIR/a$1"
    cat >"$DIR/a$1.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/a$1
instance_id = agent-$1
host = host-$1
labels = n:$1,zone:$([ $(($1 % 2)) = 0 ] && echo even || echo odd)
admin_listen =
[scope "app"]
namespaces = shop/prod
[files "app"]
scope = app
target = $DIR/t$1
E2
    "$BIN/trimtab-agent" --config_file="$DIR/a$1.conf" 2>>"$DIR/a$1.log" &
    PID[$1]=$!
}
expect() { # expect NUMBER-OF-GRAY: the first so many agents have the candidate, all others what is stable
    local i
    for i in $(seq "$AGENTS"); do
        [ "$i" = "${STOPPED:-}" ] && continue
        if [ "$i" -le "$1" ]; then printf 'candidate %s\n' "$ROUND"; else printf 'stable %s\n' "$ROUND"; fi |
            cmp -s - "$DIR/t$i/app.conf" || return 1
        if [ "$i" -le "$1" ]; then [ -e "$DIR/t$i/new.conf" ] && [ ! -e "$DIR/t$i/old.conf" ]; else
            [ ! -e "$DIR/t$i/new.conf" ] && [ -e "$DIR/t$i/old.conf" ]
        fi || return 1
    done
}
ids() { # ids FROM TO
    local i
    for i in $(seq "$1" "$2"); do printf -- '--id agent-%s ' "$i"; done
}
instance() { t instances -o json "agent-$1" | pick "(a.instances.find((i) => i.instance.id === 'agent-$1') || {}).$2"; }
sent() { instance "$1" sent_items; } # what the server has sent to an agent in this session, in items
all_ok() { [ "$(t instances -o json | pick "a.instances.filter((i) => i.state === 'ok').length")" = "$AGENTS" ]; }
start() { # start TARGETS...: a change, a creation and a deletion in one rollout
    rm -rf "$DIR/files" && mkdir "$DIR/files"
    printf 'candidate %s\n' "$ROUND" >"$DIR/files/app.conf"
    echo new >"$DIR/files/new.conf"
    ROLLOUT=$(t rollout start --publish shop/prod "$DIR/files/app.conf" "$DIR/files/new.conf" --delete shop/prod/file/old.conf \
        "$@" -m "round $ROUND" -o json | pick a.rollout.id)
}

server_start 127.0.0.1:0
ROUND=1
printf 'stable 1\n' | t put shop/prod/file/app.conf -f - >/dev/null
echo old | t put shop/prod/file/old.conf -f - >/dev/null
for i in $(seq "$AGENTS"); do agent_start "$i"; done
until_ expect 0
ok $? "$AGENTS agents have what is stable"
until_ all_ok
ok $? "and say so"

# ---- batches of 1, 3, 5 and all, then back
before=$(sent "$AGENTS")
start $(ids 1 1)
[ -n "$ROLLOUT" ] && until_ expect 1
ok $? "a change, a creation and a deletion reach the first agent, and only it"
t rollout extend "$ROLLOUT" $(ids 2 4) >/dev/null && until_ expect 4
ok $? "a batch of three more"
t rollout extend "$ROLLOUT" $(ids 5 9) >/dev/null && until_ expect 9
ok $? "a batch of five more"
[ "$before" = "$(sent "$AGENTS")" ]
ok $? "the server has sent nothing to the last agent meanwhile"
t put shop/prod/file/app.conf --value x >"$DIR/out" 2>&1
[ $? -ne 0 ] && grep -q "rollout $ROLLOUT" "$DIR/out"
ok $? "what it carries cannot be published meanwhile"

# ---- stopped, restarted, joining, and the server killed
kill -STOP "${PID[10]}"
STOPPED=10
t rollout extend "$ROLLOUT" --all >/dev/null && until_ expect "$AGENTS"
ok $? "all the others"
[ "$(instance 10 state)" = pending ] &&
    [ "$(t rollout status "$ROLLOUT" -o json | pick a.rollout.counts.pending)" = 1 ]
ok $? "an agent that is stopped does not count as applied"
kill -9 "${PID[3]}"
wait "${PID[3]}" 2>/dev/null
kill -9 "$SERVER"
wait "$SERVER" 2>/dev/null
agent_start 3
until_ expect "$AGENTS"
ok $? "an agent that restarts while the server is dead serves the candidate"
server_start "$ADDR"
AGENTS=$((AGENTS + 1))
agent_start "$AGENTS"
until_ expect "$AGENTS"
ok $? "after the server came back, an agent that joins gets the candidate at once"
kill -CONT "${PID[10]}"
STOPPED=
until_ expect "$AGENTS"
ok $? "and so does the one that goes on"
t rollout abort "$ROLLOUT" -m "not today" >/dev/null && until_ expect 0
ok $? "taken back, everybody has what was stable: changed, created and deleted"

# ---- away at the end
counts() { [ "$(t rollout status "$ROLLOUT" -o json | pick "a.rollout.counts.$1")" = "$2" ]; }
ROUND=1
start $(ids 1 5)
[ -n "$ROLLOUT" ] && until_ expect 5
ok $? "another rollout"
kill "${PID[2]}" "${PID[8]}"
wait "${PID[2]}" "${PID[8]}" 2>/dev/null
until_ counts away 1
t rollout confirm "$ROLLOUT" -m good 2>"$DIR/out"
[ $? = 7 ] && grep -q "had applied it and is away" "$DIR/out"
ok $? "while one that has it is away it is not confirmed without a reason"
t rollout confirm "$ROLLOUT" -m good --force "it is being repaired" >/dev/null &&
    t history --rollout "$ROLLOUT" | grep -q "forced: it is being repaired; good"
ok $? "with one it is, and the history keeps that; one that has it not is no matter"
before=$(sent 1)
agent_start 2
agent_start 8
until_ expect "$AGENTS"
ok $? "everybody has it, who was away too"
until_ all_ok
ok $? "and says so"
[ "$before" = "$(sent 1)" ]
ok $? "who had it was not sent it again"
finish
