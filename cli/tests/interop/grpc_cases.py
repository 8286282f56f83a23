"""gRPC calls of every kind through the gateway, judged here; client and server are grpcio.

Usage: grpc_cases.py SERVER_PORT SERVER_TLS_PORT CERT KEY CA TARGET...
A target is `h2c=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. The script serves both
ports, asks every case of every target, and ends with `N passed, M failed`.
"""
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "ringway.test.Echo"
cancelled = threading.Event()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-seen", metadata.get("x-sent", "")),
                                   ("raw-bin", metadata.get("raw-bin", b""))))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "n\u00e3o 100%")
    if request == b"remaining":
        return str(context.time_remaining()).encode()
    if request == b"wait":
        context.add_callback(cancelled.set)
        cancelled.wait(30)
    return request


def serve_many(request, context):
    for index in range(int(request)):
        yield b"%d" % index


def take_many(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both_ways(requests, context):
    for request in requests:
        yield request * 2


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(serve_many),
    "ClientStream": grpc.stream_unary_rpc_method_handler(take_many),
    "Both": grpc.stream_stream_rpc_method_handler(both_ways),
}


def start_server(plain_port, tls_port, cert, key):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
    server.add_insecure_port(f"127.0.0.1:{plain_port}")
    pair = (open(key, "rb").read(), open(cert, "rb").read())
    server.add_secure_port(f"127.0.0.1:{tls_port}", grpc.ssl_server_credentials([pair]))
    server.start()
    return server


def method(channel, kind, name):
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


def case_unary(channel):
    call = method(channel, "unary_unary", "Unary")
    reply, rpc = call.with_call(b"hello", timeout=20,
                                metadata=(("x-sent", "a"), ("raw-bin", b"\x00\xff")))
    trailers = dict(rpc.trailing_metadata())
    assert reply == b"hello" and rpc.code() == grpc.StatusCode.OK
    assert trailers["x-seen"] == "a" and trailers["raw-bin"] == b"\x00\xff", trailers


def case_large(channel):
    call = method(channel, "unary_unary", "Unary")
    message = bytes(range(256)) * 12_000
    assert call(message, timeout=60) == message


def case_error(channel):
    try:
        method(channel, "unary_unary", "Unary")(b"fail", timeout=20)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "n\u00e3o 100%", error.details()
        return
    raise AssertionError("no error")


def case_unknown_method(channel):
    try:
        method(channel, "unary_unary", "Nothing")(b"", timeout=20)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        return
    raise AssertionError("no error")


def case_server_stream(channel):
    replies = list(method(channel, "unary_stream", "ServerStream")(b"500", timeout=60))
    assert replies == [b"%d" % index for index in range(500)]


def case_client_stream(channel):
    requests = iter([b"x" * 1000] * 300)
    assert method(channel, "stream_unary", "ClientStream")(requests, timeout=60) == b"300000"


def case_both_ways_in_turn(channel):
    turn = threading.Semaphore(1)

    def requests():
        for index in range(50):
            turn.acquire()
            yield b"%d" % index

    got = []
    for reply in method(channel, "stream_stream", "Both")(requests(), timeout=60):
        got.append(reply)
        turn.release()
    assert got == [b"%d" % index * 2 for index in range(50)]


def case_many_at_once(channel):
    call = method(channel, "unary_unary", "Unary")
    calls = [call.future(b"%d" % index, timeout=60) for index in range(200)]
    assert [one.result() for one in calls] == [b"%d" % index for index in range(200)]


def case_cancel_reaches_the_server(channel):
    cancelled.clear()
    call = method(channel, "unary_unary", "Unary").future(b"wait", timeout=30)
    threading.Timer(0.2, call.cancel).start()
    assert cancelled.wait(20), "the server never learned of it"


def case_deadline_reaches_the_server(channel):
    left = float(method(channel, "unary_unary", "Unary")(b"remaining", timeout=25))
    # grpcio rounds a timeout up before it sends it.
    assert 0 < left <= 26, left


CASES = {name[5:]: case for name, case in sorted(globals().items()) if name.startswith("case_")}


def main(plain_port, tls_port, cert, key, ca, *targets):
    server = start_server(plain_port, tls_port, cert, key)
    passed = failed = 0
    for target in targets:
        kind, address = target.split("=")
        options = (("grpc.max_receive_message_length", 1 << 26),)
        if kind == "tls":
            roots = grpc.ssl_channel_credentials(open(ca, "rb").read())
            options += (("grpc.ssl_target_name_override", "edge.test"),)
            channel = grpc.secure_channel(address, roots, options)
        else:
            channel = grpc.insecure_channel(address, options)
        for name, case in CASES.items():
            try:
                case(channel)
                passed += 1
            except (AssertionError, grpc.RpcError) as error:
                failed += 1
                print(f"{target} {name}: {error!r}")
        channel.close()
    server.stop(0)
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
