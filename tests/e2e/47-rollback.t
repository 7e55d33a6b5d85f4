#!/bin/bash
# Gray release of the configuration of real nginx servers, each behind an agent of its own: a candidate that nginx refuses
# and one with which nginx does not answer as it should both roll themselves back, and whoever was no target is never
# touched; a good one goes from one to three to all and confirms itself.
#   TRIMTAB_BIN: the folder of the binaries
. "$(dirname "$0")/lib.sh"
AGENTS=5
NGINX=$(command -v nginx || echo /usr/sbin/nginx)
read -r -a PORTS <<<"$(free_ports $AGENTS)"

on_failure() {
    tail -n 3 "$DIR"/a[0-9].log "$DIR"/p*/run/error.log "$DIR/server.log" 2>/dev/null | sed 's/^/# /'
    t rollout status "$ROLLOUT" | sed 's/^/# /'
}
port() { echo "${PORTS[$(($1 - 1))]}"; }
agent_start() { # agent_start NUMBER
    mkdir -p "$DIR/a$1" "$DIR/p$1/run"
    cat >"$DIR/a$1.conf" <<E2
servers = $ADDR
token_file = $DIR/sd/admin.token
data_dir = $DIR/a$1
instance_id = edge-$1
host = host-$1
labels = n:$1
admin_listen =
[scope "web"]
namespaces = web/{n},web/edge
[files "web"]
scope = web
target = $DIR/t$1
check = $NGINX -t -q -p $DIR/p$1 -c {stage}/nginx.conf
reload = $DIR/reload $DIR/p$1
[health "nginx"]
http = http://127.0.0.1:$(port "$1")/healthz
every = 100ms
retry = 50ms
failures = 2
timeout = 2s
E2
    "$BIN/trimtab-agent" --config_file="$DIR/a$1.conf" 2>>"$DIR/a$1.log" &
    PID[$1]=$!
}
nginx_start() { # nginx_start NUMBER
    "$NGINX" -p "$DIR/p$1" -c "$DIR/t$1/nginx.conf" -g 'daemon off;' 2>>"$DIR/p$1/run/error.log" &
    MASTER[$1]=$!
}
cat >"$DIR/reload" <<'E2'
#!/bin/sh
# As packages do it: nginx reads its files again, and goes on with the old ones when it cannot.
echo reload >>"$1/reloads"
[ ! -s "$1/run/nginx.pid" ] || kill -HUP "$(cat "$1/run/nginx.pid")"
E2
chmod +x "$DIR/reload"

# What an agent serves, down to inodes and times; what its nginx was told; and the processes of this nginx.
touched() { # touched FROM TO
    local i
    for i in $(seq "$1" "$2"); do
        find "$DIR/t$i" -printf '%P %y %i %s %T@ %C@ %m\n' | sort
        cat "$DIR/p$i/reloads"
        ps -o pid= --ppid "${MASTER[$i]}"
    done
}
bytes() { (cd "$DIR" && sha256sum t[0-9]*/*); } # of all files of all agents
reloads() { wc -l <"$DIR/p$1/reloads"; }
answers() { # answers NUMBER PATH TEXT
    [ "$(curl -sf -m 5 "http://127.0.0.1:$(port "$1")$2")" = "$3" ]
}
all_answer() { # all_answer PATH TEXT
    local i
    for i in $(seq "$AGENTS"); do answers "$i" "$@" || return 1; done
}
picture() { t rollout status "$ROLLOUT" -o json | pick "$1"; } # picture EXPRESSION
phase_is() { [ "$(picture a.rollout.phase)" = "$1" ]; }
all_well() {
    [ "$(instances | pick "a.instances.filter((i) => i.state === 'ok' && i.health && !i.health.failing).length")" = "$AGENTS" ]
}
moves() { api GET "/v1/commits?rollout=$ROLLOUT&limit=100" | pick 'a.commits.map((c) => c.moves[0].move).reverse().join(" ")'; }
started() { # started FLAGS...: starts one; its number is in ROLLOUT
    ROLLOUT=$(t rollout start "$@" --auto --auto-confirm -o json | pick a.rollout.id)
    [ -n "$ROLLOUT" ]
}

mkdir "$DIR/source"
cat >"$DIR/source/nginx.conf" <<'E2'
worker_processes 1;
pid run/nginx.pid;
error_log run/error.log;
events { worker_connections 16; }
http {
    access_log off;
    client_body_temp_path run/body;
    proxy_temp_path run/proxy;
    fastcgi_temp_path run/fastcgi;
    uwsgi_temp_path run/uwsgi;
    scgi_temp_path run/scgi;
    server {
        include port.conf;
        include site.conf;
    }
}
E2
site() { # site STATUS-OF-HEALTH TEXT
    printf 'location = /healthz { return %s "as told\\n"; }\nlocation / { return 200 "%s\\n"; }\n' "$1" "$2"
}
site 200 'the first' >"$DIR/source/site.conf"
server_start 127.0.0.1:0
t publish web/edge "$DIR/source" >/dev/null || exit 1
for i in $(seq $AGENTS); do put "web/$i/file/port.conf" "listen 127.0.0.1:$(port "$i");"; done
for i in $(seq $AGENTS); do agent_start "$i"; done
for i in $(seq $AGENTS); do until_ test -s "$DIR/t$i/nginx.conf"; done
for i in $(seq $AGENTS); do nginx_start "$i"; done
until_ all_answer / 'the first' && until_ all_well
ok $? "$AGENTS nginx servers run from what their agents deliver, and are well"

# ---- nginx refuses it
before=$(bytes)
everybody=$(touched 1 $AGENTS)
sed 's/worker_connections 16/worker_connections lots/' "$DIR/source/nginx.conf" >"$DIR/broken.conf"
started web/edge/file/nginx.conf -f "$DIR/broken.conf" --id edge-1 --soak 10s --step 'count=2;soak=10s' --step 'all;soak=10s' \
    -m "a mistake" && until_ phase_is rolled_back
ok $? "an automatic rollout whose candidate nginx refuses rolls itself back"
picture a.rollout.last_move_reason >"$DIR/why"
grep -q '1 of 1 instances refuses it, 0 may: edge-1: file/nginx.conf CHECK_FAILED: .*invalid number "lots"' "$DIR/why" &&
    [ "$(picture a.rollout.last_move_by)" = trimtabd ]
ok $? "the reason names the instance, the file and what nginx said"
sed 's/^/# /' "$DIR/why"
until_ all_well && [ "$before" = "$(bytes)" ] && [ "$everybody" = "$(touched 1 $AGENTS)" ]
ok $? "no file of any agent was touched, not even that of the target; no nginx was told anything"
[ "$(moves)" = 'start roll_back' ]
ok $? "it never left its first step"

# ---- nginx takes it, and does not answer as it should
others=$(touched 2 $AGENTS)
told=$(reloads 1)
site 503 'the second' >"$DIR/bad.conf"
started web/edge/file/site.conf -f "$DIR/bad.conf" --id edge-1 --soak 10s --step 'all;soak=10s' -m "looks well" &&
    until_ phase_is rolled_back
ok $? "one with which nginx runs, but fails its health probe, rolls itself back"
picture a.rollout.last_move_reason >"$DIR/why"
grep -q "1 of 1 instances is failing, 0 may: edge-1: nginx: http://127.0.0.1:$(port 1)/healthz: HTTP status 503" "$DIR/why"
ok $? "the reason names the instance, the probe and what it saw"
sed 's/^/# /' "$DIR/why"
until_ answers 1 / 'the first' && until_ all_well && [ "$before" = "$(bytes)" ]
ok $? "the target is well again, and the files of all agents are byte for byte as before"
[ "$(reloads 1)" = $((told + 2)) ]
ok $? "it did have the candidate: its nginx was told twice"
[ "$others" = "$(touched 2 $AGENTS)" ]
ok $? "the others were never touched: the same inodes, times and processes"
t history --rollout "$ROLLOUT" >"$DIR/out" && grep -q 'edge-1: nginx: http.*503' "$DIR/out" && grep -q trimtabd "$DIR/out" &&
    t rollout status "$ROLLOUT" | grep -q 'edge-1: nginx: http.*503'
ok $? "status and history tell it to people"

# ---- a good one
site 200 'the third' >"$DIR/source/site.conf"
started --publish web/edge "$DIR/source" --id edge-1 --soak 300ms --step 'count=2;soak=300ms' --step 'all;soak=300ms' -m "good" &&
    t rollout watch "$ROLLOUT" >"$DIR/watched"
ok $? "a good one confirms itself, and who watches is told so"
[ "$(moves)" = 'start satisfy advance satisfy advance satisfy confirm' ]
ok $? "step by step"
api GET "/v1/commits?rollout=$ROLLOUT&limit=100" | pick 'a.commits.map((c) => c.moves[0].reason).reverse().join("|")' >"$DIR/out"
grep -q 'applied by 1 of 1.*applied by 3 of 3.*applied by 5 of 5' "$DIR/out"
ok $? "one, three, all: each step was satisfied by those who had applied it"
until_ all_answer / 'the third' && until_ all_well && cmp -s "$DIR/source/site.conf" "$DIR/t5/site.conf"
ok $? "every nginx serves it"
finish
