"""Asks the gateway's own health service with grpcio's client for it, and watches two services.

Usage: health_cases.py CA [watch=SERVICE] TARGET...
A target is `h2c=HOST:PORT` or `tls=HOST:PORT`. What is checked once is judged here, unless one
service is named that is to be watched. Then a line
`TARGET SERVICE STATUS` is printed for each message of a watched stream, and one with the code in
the end; the script ends when all streams have.
"""
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

WATCHED = ("", "shop.v1.Orders")
LISTED = {"": "SERVING", "shop.v1.Orders": "SERVING", "c": "SERVING"}
NAMES = health_pb2.HealthCheckResponse.ServingStatus
talk = threading.Lock()


def say(*words):
    with talk:
        print(*words, flush=True)


def open_channel(target, ca):
    kind, address = target.split("=")
    if kind == "h2c":
        return grpc.insecure_channel(address)
    roots = grpc.ssl_channel_credentials(open(ca, "rb").read())
    options = (("grpc.ssl_target_name_override", "edge.test"),)
    return grpc.secure_channel(address, roots, options)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("no error")


def check(channel):
    stub = health_pb2_grpc.HealthStub(channel)

    def ask(service):
        request = health_pb2.HealthCheckRequest(service=service)
        return NAMES.Name(stub.Check(request, timeout=20).status)

    assert ask("") == "SERVING"
    assert ask("shop.v1.Orders") == "SERVING"
    assert ask("c") == "SERVING"
    listed = stub.List(health_pb2.HealthListRequest(), timeout=20).statuses
    assert {name: NAMES.Name(one.status) for name, one in listed.items()} == LISTED
    assert code_of(lambda: ask("nobody")) == grpc.StatusCode.NOT_FOUND
    assert code_of(lambda: ask("x" * 5000)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    nobody = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)
    assert NAMES.Name(next(nobody).status) == "SERVICE_UNKNOWN"
    nobody.cancel()
    raw = channel.unary_unary("/grpc.health.v1.Health/Other")
    assert code_of(lambda: raw(b"", timeout=20)) == grpc.StatusCode.UNIMPLEMENTED
    raw = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert code_of(lambda: raw(b"\x0a\x05", timeout=20)) == grpc.StatusCode.INTERNAL
    assert raw(b"", timeout=20) == b"\x08\x01", "the gateway"
    listing = channel.unary_unary("/grpc.health.v1.Health/List")
    assert code_of(lambda: listing(b"\x0a\x05", timeout=20)) == grpc.StatusCode.INTERNAL
    assert listing(b"\x0a\x01\xff", timeout=20), "and so are those of a list"
    gzip = dict(compression=grpc.Compression.Gzip, timeout=20)
    assert code_of(lambda: raw(b"\x10\x01" * 500, **gzip)) == grpc.StatusCode.UNIMPLEMENTED
    assert raw(b"\x10\x01", timeout=20) == b"\x08\x01", "unknown fields are skipped"


def watch(target, channel, service):
    request = health_pb2.HealthCheckRequest(service=service)
    name = service or "all"
    try:
        for reply in health_pb2_grpc.HealthStub(channel).Watch(request):
            say(target, name, NAMES.Name(reply.status))
    except grpc.RpcError as error:
        say(target, name, error.code().name)


def main(ca, *targets):
    threads = []
    watched = WATCHED
    if targets[0].startswith("watch="):
        watched = (targets[0].removeprefix("watch="),)
        targets = targets[1:]
    for target in targets:
        channel = open_channel(target, ca)
        if watched is WATCHED:
            check(channel)
        kind = target.split("=")[0]
        for service in watched:
            thread = threading.Thread(target=watch, args=(kind, channel, service))
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
