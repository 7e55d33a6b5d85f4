# What grpcio.t asks of the server at ADDRESS, with TOKEN and a COMPRESSION of its channel.
import queue
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from trimtab.v1 import admin_pb2, admin_pb2_grpc, resource_pb2, sync_pb2, sync_pb2_grpc

address, token, name = sys.argv[1:]
auth = [("authorization", "Bearer " + token)]
text = "a line of text\n" * 20000
resource = "m/file/" + name.lower()

with grpc.insecure_channel(address, compression=getattr(grpc.Compression, name)) as channel:
    admin = admin_pb2_grpc.AdminStub(channel)
    change = resource_pb2.Change(id=resource, content=text.encode())
    revision = admin.Commit(admin_pb2.CommitRequest(changes=[change]), metadata=auth).revision
    got = admin.Get(admin_pb2.GetRequest(id=resource), metadata=auth)
    assert (got.text or got.content.decode()) == text

    try:
        admin.Get(admin_pb2.GetRequest(id="m/file/none"), metadata=auth)
        raise AssertionError("it was found")
    except grpc.RpcError as e:
        status = rpc_status.from_call(e)
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert (e.code(), info.reason, info.domain) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "trimtab")

    frames = queue.Queue()
    stub = sync_pb2_grpc.SyncStub(channel)
    stream = stub.Subscribe(iter(frames.get, None), metadata=auth)
    hello = sync_pb2.Hello(protocol=1, scopes=[sync_pb2.Scope(name="s", namespaces=["m"])])
    hello.instance.id = name
    frames.put(sync_pb2.ClientFrame(hello=hello))
    seen = set()
    for frame in stream:
        seen.update(item.id for changes in frame.changes for item in changes.put)
        if frame.HasField("end"):
            assert frame.end.revision == revision
            break
    assert resource in seen
    frames.put(None)
    stream.cancel()
