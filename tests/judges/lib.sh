# What the judges share: programs of others that know our protocols, fetched once into TOOLS, and the server that they judge.
#   TRIMTAB_TOOLS   where they are kept: build/tools
# A judge that cannot be fetched is skipped with the reason.
. "$(dirname "$0")/../e2e/lib.sh"
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
TOOLS=${TRIMTAB_TOOLS:-$ROOT/build/tools}
mkdir -p "$TOOLS"
on_failure() { tail -n 40 "$DIR/judge.log" | cut -c1-300 | sed 's/^/# /'; }

skip() { # skip REASON
    echo "1..0 # SKIP $*"
    exit 0
}

go_tool() { # go_tool NAME MODULE VERSION PACKAGE: $TOOLS/NAME
    [ ! -x "$TOOLS/$1-$3" ] || { ln -sf "$1-$3" "$TOOLS/$1"; return; }
    command -v go >/dev/null || skip "$1 needs go"
    mkdir "$DIR/go"
    # a module of our own: some are so old that they name no versions of what they need
    (cd "$DIR/go" && go mod init judge && go get "$4@$3" && go build -o "$TOOLS/$1-$3" "$4") >"$DIR/fetch.log" 2>&1 ||
        skip "$1 cannot be fetched: $(tail -n 1 "$DIR/fetch.log")"
    ln -sf "$1-$3" "$TOOLS/$1"
}

python_tool() { # python_tool NAME VERSION: in the environment $TOOLS/python
    command -v python3 >/dev/null || skip "$1 needs python3"
    [ -x "$TOOLS/python/bin/pip" ] || python3 -m venv "$TOOLS/python" >"$DIR/fetch.log" 2>&1 || skip "$1 needs venv"
    "$TOOLS/python/bin/pip" install -q "$1==$2" >"$DIR/fetch.log" 2>&1 || skip "$1 cannot be fetched: $(tail -n 1 "$DIR/fetch.log")"
}

npm_tool() { # npm_tool NAME VERSION: a folder of $TOOLS/npm/node_modules
    command -v npm >/dev/null || skip "$1 needs npm"
    mkdir -p "$TOOLS/npm"
    grep -qs "\"version\": \"$2\"" "$TOOLS/npm/node_modules/$1/package.json" ||
        (cd "$TOOLS/npm" && npm install --silent --no-audit --no-fund --ignore-scripts --omit=dev "$1@$2") >"$DIR/fetch.log" 2>&1 ||
        skip "$1 cannot be fetched: $(tail -n 1 "$DIR/fetch.log")"
}
