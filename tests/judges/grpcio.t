#!/bin/bash
# Python's grpcio, which is gRPC's core in C++: calls and a subscription, as it is and compressed, and the details of a failure.
. "$(dirname "$0")/lib.sh"
python_tool grpcio 1.85.1
python_tool grpcio-tools 1.85.1
python_tool grpcio-status 1.85.1

PYTHON=$TOOLS/python/bin/python
"$PYTHON" -m grpc_tools.protoc -I "$ROOT/proto" --python_out="$DIR" --grpc_python_out="$DIR" "$ROOT"/proto/trimtab/v1/*.proto 2>"$DIR/judge.log"
ok $? "it makes its code from our files"
server_start 127.0.0.1:0
for compression in NoCompression Gzip; do
    PYTHONPATH=$DIR "$PYTHON" "$ROOT/tests/judges/grpcio.py" "$ADDR" "$TOKEN" $compression >"$DIR/judge.log" 2>&1
    ok $? "calls, a subscription and a failure with $compression"
done
finish
