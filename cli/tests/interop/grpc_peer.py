"""A server of grpcio for tests that speak to it through the gateway by other means than grpcio.

Usage: grpc_peer.py PORT. It prints `ready` once it accepts, and serves until it is killed.
"""
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "ringway.test.Echo"
# It is not a server's to say, where the gateway answers pages.
FORGED = (
    ("access-control-allow-origin", "https://other.test"),
    ("access-control-allow-credentials", "true"),
)
REPLY = b"\x0a\x02hi\x10\x2a"


def echo(request, context):
    if b"hi" in request:
        context.send_initial_metadata((("x-quota", "7"), *FORGED))
    if b"err" in request:
        context.abort(grpc.StatusCode.NOT_FOUND, "n\u00e3o 100% found")
    if b"size" in request:
        return b"%d" % len(request)
    return REPLY


def many(request, context):
    for _ in range(3):
        yield REPLY


def begin(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    yield REPLY
    ended.wait(60)


def metadata(request, context):
    given = dict(context.invocation_metadata())
    names = ("content-type", "x-grpc-web", "grpc-accept-encoding", "x-sent")
    return "|".join(str(given.get(name)) for name in names).encode()


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Many": grpc.unary_stream_rpc_method_handler(many),
    "Begin": grpc.unary_stream_rpc_method_handler(begin),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
}


def main(port):
    options = (("grpc.max_receive_message_length", 1 << 26),)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
