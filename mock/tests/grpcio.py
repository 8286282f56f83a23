"""Calls of every kind to the gRPC mock by grpcio.

Usage: grpcio.py HOST:PORT. It ends with `all calls are right`, or with the assertion that failed.
"""
import sys

import grpc

SERVICE = "ringway.mock.Echo"


def method(channel, kind, name):
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


def failure(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


def unary(channel):
    call = method(channel, "unary_unary", "Unary")
    reply, rpc = call.with_call(b"hello", timeout=20, metadata=(("echo-bin", b"\x00\xff"),))
    assert reply == b"hello" and dict(rpc.trailing_metadata())["echo-bin"] == b"\x00\xff"
    large = bytes(range(256)) * 12_000
    assert call(large, timeout=60) == large
    calls = [call.future(b"%d" % index, timeout=60) for index in range(300)]
    assert [one.result() for one in calls] == [b"%d" % index for index in range(300)]


def errors(channel):
    call = method(channel, "unary_unary", "Unary")
    orders = (("mock-status", "9"), ("mock-message", "100% no"))
    error = failure(call, b"", timeout=20, metadata=orders)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "100% no", error.details()
    error = failure(method(channel, "unary_unary", "Nothing"), b"", timeout=20)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    error = failure(call, b"", timeout=20, metadata=(("mock-status", "x"),))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    compressed = grpc.Compression.Gzip
    error = failure(call, b"x" * 1000, timeout=20, compression=compressed)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def deadline(channel):
    call = method(channel, "unary_unary", "Unary")
    error = failure(call, b"", timeout=0.2, metadata=(("mock-delay-ms", "60000"),))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert call(b"x", timeout=20, metadata=(("mock-delay-ms", "20"),)) == b"x"


def streams(channel):
    call = method(channel, "unary_stream", "ServerStream")
    assert list(call(b"x", timeout=20, metadata=(("mock-count", "500"),))) == [b"x"] * 500
    call = method(channel, "stream_unary", "ClientStream")
    assert call(iter([b"x" * 1000] * 300), timeout=20) == b"300 300000"
    call = method(channel, "stream_stream", "Bidi")
    requests = [b"%d" % index for index in range(100)]
    assert list(call(iter(requests), timeout=20)) == requests
    replies = call(iter(requests), timeout=20, metadata=(("mock-status", "14"),))
    got = []
    error = failure(lambda: [got.append(reply) for reply in replies])
    assert got == requests and error.code() == grpc.StatusCode.UNAVAILABLE, error


def main(address):
    options = (("grpc.max_receive_message_length", 1 << 26),)
    with grpc.insecure_channel(address, options) as channel:
        for case in (unary, errors, deadline, streams):
            case(channel)
    print("all calls are right")


if __name__ == "__main__":
    main(*sys.argv[1:])
