# What the end-to-end tests in shell share: a folder of their own, TAP, waiting for something, a server and an agent.
#   TRIMTAB_BIN: the folder of the binaries
# Ends with `finish`. A test may define on_failure, which tells more about a case that failed, and functions of its own
# in the place of those here.
BIN=${TRIMTAB_BIN:-$(cd "$(dirname "$0")/../.." && pwd)/build/dev/bin}
BIN=$(cd "$BIN" && pwd) || exit 1
DIR=$(mktemp -d)
N=0
FAILED=0
SERVER=
AGENT=
PROGRAM=
declare -a PID    # of more agents
declare -a MASTER # of programs with children, which end these when they are told to end

cleanup() {
    local pid
    [ ${#MASTER[@]} = 0 ] || { kill "${MASTER[@]}" && wait "${MASTER[@]}"; } 2>/dev/null
    for pid in "${PID[@]}" $AGENT $SERVER $PROGRAM; do
        kill -CONT "$pid" 2>/dev/null
        kill -9 "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$DIR"
}
trap cleanup EXIT

on_failure() { tail -n 8 "$DIR/agent.log" | sed 's/^/# /'; }
ok() { # ok STATUS TITLE
    N=$((N + 1))
    if [ "$1" = 0 ]; then
        echo "ok $N - $2"
    else
        echo "not ok $N - $2"
        FAILED=1
        on_failure
    fi
}
finish() {
    echo "1..$N"
    exit $FAILED
}
WAIT_S=${TRIMTAB_WAIT_S:-180} # for what must come, however busy the machine is; what never comes is told by name then
until_() { # until_ COMMAND...: polls it
    local end=$((SECONDS + WAIT_S))
    while [ $SECONDS -lt $end ]; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    "$@"
}

free_ports() { # free_ports N: that many ports of the loopback interface that nobody has now
    perl -MIO::Socket::INET -e 'my @s = map { IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:0") } 1 .. shift;
        print join(" ", map { $_->sockport } @s), "\n"' "$1"
}

# ---- the server
server_start() { # server_start ADDRESS [flags]
    local address=$1
    shift
    rm -f "$DIR/addr"
    "$BIN/trimtabd" --data_dir="$DIR/sd" --listen="$address" --address_file="$DIR/addr" \
        --bookmark_interval=200ms "$@" 2>>"$DIR/server.log" &
    SERVER=$!
    until_ test -s "$DIR/addr" || exit 1
    ADDR=$(cat "$DIR/addr")
    TOKEN=$(cat "$DIR/sd/admin.token")
    export TRIMTAB_SERVER="http://$ADDR" TRIMTAB_TOKEN="$TOKEN"
}
server_stop() {
    kill "$SERVER"
    wait "$SERVER"
    SERVER=
}
SCHEME=http
TLS=()
api() { # api METHOD PATH [curl arguments]
    local method=$1 path=$2
    shift 2
    curl -sS "${TLS[@]}" -X "$method" -H "authorization: Bearer $TOKEN" "$@" "$SCHEME://$ADDR$path"
}
put() { printf '%s' "$2" | api PUT "/v1/resources/$1" --data-binary @- >/dev/null; }
del() { api DELETE "/v1/resources/$1" >/dev/null; }
commit() { printf '%s' "$1" | api POST /v1/commits --data-binary @- >/dev/null; }
instances() { api GET /v1/instances; }
says() { instances | grep -q "$1"; }
t() { "$BIN/trimtab" "$@"; }
pick() { node -pe "const a = JSON.parse(require('fs').readFileSync(0)); $1"; } # pick EXPRESSION: of the JSON a

# ---- one agent, whose settings are in $DIR/agent.conf
agent_start() { # agent_start [flags]
    rm -f "$DIR/admin"
    "$BIN/trimtab-agent" --config_file="$DIR/agent.conf" "$@" 2>>"$DIR/agent.log" &
    AGENT=$!
    until_ test -s "$DIR/admin"
}
agent_stop() {
    kill "$AGENT"
    wait "$AGENT"
    local status=$?
    AGENT=
    return $status
}
status() { curl -sS "http://$(cat "$DIR/admin")/status"; }
in_status() { status | grep -q "$1"; }
metric() { curl -sS "http://$(cat "$DIR/admin")/metrics" | awk -v n="trimtab_agent_$1" '$1 == n {print $2}'; }
