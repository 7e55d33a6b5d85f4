#!/bin/bash
# grpcurl on gRPC: it knows nothing of our messages but what reflection tells it.
. "$(dirname "$0")/lib.sh"
go_tool grpcurl github.com/fullstorydev/grpcurl v1.9.3 github.com/fullstorydev/grpcurl/cmd/grpcurl

server_start 127.0.0.1:0
ask() { # ask METHOD DOCUMENT [flags]
    local method=$1 document=$2
    shift 2
    "$TOOLS/grpcurl" -plaintext -H "authorization: Bearer $TOKEN" "$@" -d "$document" "$ADDR" "$method" >"$DIR/judge.log" 2>&1
}

"$TOOLS/grpcurl" -plaintext "$ADDR" list >"$DIR/judge.log" 2>&1
[ "$(grep -cxE 'trimtab\.v1\.(Admin|Sync)|grpc\.health\.v1\.Health' "$DIR/judge.log")" = 3 ]
ok $? "it lists the services"
"$TOOLS/grpcurl" -plaintext "$ADDR" describe trimtab.v1.Admin.Commit >"$DIR/judge.log" 2>&1 && grep -q CommitRequest "$DIR/judge.log"
ok $? "it describes a method"
ask trimtab.v1.Admin/Commit '{"changes": [{"id": "m/file/x", "text": "by grpcurl"}]}' && grep -q '"revision": "1"' "$DIR/judge.log"
ok $? "it commits"
ask trimtab.v1.Admin/Get '{"id": "m/file/x"}' && grep -q 'by grpcurl' "$DIR/judge.log"
ok $? "it reads"
! ask trimtab.v1.Admin/Get '{"id": "m/file/none"}' && grep -q 'Code: NotFound' "$DIR/judge.log" && grep -q 'google.rpc.ErrorInfo' "$DIR/judge.log"
ok $? "it gets a failure with its details"
# the stream lasts until it has what it came for: grpcurl ends its half with its input
{
    echo '{"hello": {"protocol": 1, "scopes": [{"name": "s", "namespaces": ["m"]}]}}'
    until_ grep -q m/file/x "$DIR/judge.log"
} | ask trimtab.v1.Sync/Subscribe @
grep -q '"welcome"' "$DIR/judge.log" && grep -q 'm/file/x' "$DIR/judge.log"
ok $? "it subscribes"
ask grpc.health.v1.Health/Check '{}' && grep -q SERVING "$DIR/judge.log"
ok $? "it asks for health"
finish
