#!/bin/bash
# The two commands of README.md in a Debian 12 that has nothing but its base system, from a clone of what is committed.
# Takes long, so only scripts/soak runs it. The mirror, proxies and certificates are those of this machine.
#   TRIMTAB_DEBIAN_TEST   full, or quick for "scripts/test quick"
# Mounts and processes live in namespaces of their own: they end with this script, however it ends.
cd "$(dirname "$0")/../.." || exit 1
HERE=$PWD/tests/checks/debian.t

N=0
FAILED=0
ok() { # ok STATUS TITLE [LOG]
    N=$((N + 1))
    if [ "$1" = 0 ]; then
        echo "ok $N - $2"
    else
        [ -z "${3:-}" ] || tail -n 60 "$3" | sed 's/^/# /'
        echo "not ok $N - $2"
        FAILED=1
    fi
}
skip() {
    echo "1..0 # SKIP $*"
    exit 0
}

# ---- inside: process 1 of its namespace, beside whose root DIR the mounts are
in_root() { # COMMAND...: with what this machine says of proxies and certificates, and nothing else
    local said
    mapfile -t said < <(env | grep -iE '^([a-z]*_proxy|[A-Z_]*(SSL_CERT|CA_CERTS|CA_BUNDLE|CAINFO)[A-Z_]*)=')
    env -i "${said[@]}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        chroot "$DIR" /bin/sh -c 'cd /root/trimtab && exec "$@"' sh "$@" </dev/null
}
left_running() { # whoever else lives in this namespace
    local p
    for p in /proc/[0-9]*; do
        [ "${p#/proc/}" = 1 ] || [ "${p#/proc/}" = "$BASHPID" ] || ! [ "$(readlink "$p/root")" = "$DIR" ] ||
            tr '\0' ' ' <"$p/cmdline" | sed "s|^|${p#/proc/}: |;s|\$|\n|"
    done
}
inside() {
    local r took
    mount --make-rprivate / && mount -t proc proc /proc && mount -t proc proc "$DIR/proc" &&
        mount --rbind /dev "$DIR/dev" && mount --rbind /sys "$DIR/sys" && mount -t tmpfs tmpfs "$DIR/run"
    ok $? "the root has /proc, /dev, /sys and /run"
    took=$SECONDS
    in_root scripts/demo >"$DIR/demo.log" 2>&1
    ok $? "scripts/demo, from nothing" "$DIR/demo.log"
    echo "# in $((SECONDS - took)) s, closing with: $(grep -m1 'agent came back' "$DIR/demo.log")"
    left_running >"$DIR/left.log"
    [ ! -s "$DIR/left.log" ]
    ok $? "scripts/demo leaves nothing running" "$DIR/left.log"
    took=$SECONDS
    if [ "$TEST" = full ]; then in_root scripts/test; else in_root scripts/test "$TEST"; fi >"$DIR/test.log" 2>&1
    r=$?
    grep -E '^(skipped|failed):' "$DIR/test.log" | sed 's/^/# /'
    [ $r = 0 ] && tail -n 1 "$DIR/test.log" | grep -q '^[1-9][0-9]* passed, 0 failed, '
    ok $? "scripts/test" "$DIR/test.log"
    echo "# in $((SECONDS - took)) s: $(tail -n 1 "$DIR/test.log")"
    left_running >"$DIR/left.log"
    [ ! -s "$DIR/left.log" ]
    ok $? "scripts/test leaves nothing running" "$DIR/left.log"
    [ -z "$(in_root git -c safe.directory='*' status --porcelain 2>/dev/null)" ]
    ok $? "nothing is written where the clone does not ignore it"
    echo "1..$N"
    exit $FAILED
}
if [ "${1:-}" = inside ]; then
    DIR=$2 TEST=$3 N=$4 FAILED=$5
    inside
fi

# ---- outside
TEST=${TRIMTAB_DEBIAN_TEST:-full}
[ "$(id -u)" = 0 ] || skip "needs root"
command -v debootstrap >/dev/null || skip "needs debootstrap"
command -v unshare >/dev/null && unshare --mount --pid --fork true 2>/dev/null || skip "needs namespaces"
MIRROR=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
    sed -n 's/^bookworm main Packages //p' | head -n 1)
[ -n "$MIRROR" ] || skip "the package sources of this machine do not name Debian 12"

DIR=$(mktemp -d /var/tmp/trimtab-debian-XXXXXX) || exit 1
chmod 755 "$DIR" # it will be / to users that are not root
LOG=$DIR.log
CHILD=
finish() {
    local i
    [ -z "$CHILD" ] || kill -KILL "$CHILD" 2>/dev/null
    wait
    # The kernel ends what lives in a namespace soon after its first process, not with it.
    for i in $(seq 100); do
        rm -rf --one-file-system "$DIR" "$LOG" 2>/dev/null && break
        sleep 0.1
    done
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
run_child() { # in namespaces of its own; waited for in a way that lets signals through
    unshare --mount --pid --fork --kill-child "$@" &
    CHILD=$!
    wait "$CHILD"
    local r=$?
    CHILD=
    return $r
}

# The proxy of apt, for debootstrap, which does not ask apt.
PROXY=$(apt-config shell P Acquire::http::Proxy | sed -n "s/^P='\(.*\)'$/\1/p")
run_child env "http_proxy=${http_proxy:-$PROXY}" debootstrap --variant=minbase bookworm "$DIR" "$MIRROR" >"$LOG" 2>&1
ok $? "a root of Debian 12, of its base system only" "$LOG"
[ $FAILED = 0 ] || { echo "1..$N"; exit 1; }

rm -f "$DIR/etc/apt/sources.list" # as debootstrap wrote it
cp -aL /etc/apt/. "$DIR/etc/apt/" && cp -L /etc/resolv.conf /etc/hosts "$DIR/etc/" &&
    mkdir -p "$DIR/etc/ssl/certs" "$DIR/usr/local/share/ca-certificates" && cp -aL /etc/ssl/certs/. "$DIR/etc/ssl/certs/" &&
    { [ ! -f /etc/ssl/certs/ca-certificates.crt ] || # the package makes it anew, out of this
        cp -L /etc/ssl/certs/ca-certificates.crt "$DIR/usr/local/share/ca-certificates/machine.crt"; }
ok $? "it has the package sources and certificates of this machine"
for npmrc in /etc/npmrc "$(npm config get globalconfig 2>/dev/null)"; do
    [ ! -f "$npmrc" ] || cp -L "$npmrc" "$DIR/etc/npmrc"
done
[ ! -f ~/.npmrc ] || cp -L ~/.npmrc "$DIR/root/.npmrc"
git clone -q --no-hardlinks "file://$PWD" "$DIR/root/trimtab"
ok $? "a clone of $(git rev-parse --short HEAD)"
[ "$(sed -n 's/^    \(scripts\/[a-z]*\) .*/\1/p' "$DIR/root/trimtab/README.md" | xargs)" = "scripts/demo scripts/test" ]
ok $? "README.md tells two commands"
run_child "$HERE" inside "$DIR" "$TEST" $N $FAILED
