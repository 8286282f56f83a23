"""Apache Thrift and thriftpy2 as servers, and as callers of every other implementation's servers.

Usage: thrift_peers.py IDL serve
It serves on free ports, prints `ready NAME=PORT...` and goes on until it is ended.

Usage: thrift_peers.py IDL call TARGET...
A target is `plain=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. It asks every case of
every target in every dialect, and ends with `N passed, M failed`.

Usage: thrift_peers.py IDL load TARGET
It prints `ready`, waits for a line, and has curl, grpcio, Apache Thrift and thriftpy2 ask at once.
It ends with `N passed, M failed`; an answer that is not the right one ends it earlier.
"""
import http.server
import logging
import subprocess
import sys
import threading
from concurrent import futures

import grpc
import thriftpy2
from thrift.Thrift import TMessageType
from thriftpy2.protocol import (
    TBinaryProtocolFactory,
    TCompactProtocolFactory,
    TCyBinaryProtocolFactory,
    TMultiplexedProtocolFactory,
)
from thriftpy2.server import TThreadedServer
from thriftpy2.thrift import TApplicationException, TClient, TMultiplexedProcessor, TProcessor
from thriftpy2.transport import (
    TBufferedTransportFactory,
    TCyBufferedTransportFactory,
    TCyFramedTransportFactory,
    TFramedTransportFactory,
    TServerSocket,
    TSocket,
)

import thrift_cases
from thrift_cases import ECHO, LIMIT_S, SERVERS, Caller, Target

IDL = thriftpy2.load(sys.argv[1], module_name="echo_thrift").Echo
DIALECTS = ["framed_binary", "framed_compact", "buffered_binary", "buffered_compact"]
# thriftpy2 has binary in C beside the one in Python; both read the same.
FACTORIES = {
    "framed_binary": (TCyFramedTransportFactory, TCyBinaryProtocolFactory),
    "framed_compact": (TFramedTransportFactory, TCompactProtocolFactory),
    "buffered_binary": (TCyBufferedTransportFactory, TCyBinaryProtocolFactory),
    "buffered_compact": (TBufferedTransportFactory, TCompactProtocolFactory),
}


class Handler:
    """Every method of thriftpy2's servers, answered as Apache Thrift's are."""

    def __getattr__(self, method):
        if method.startswith("tell_"):
            return self.tell
        return lambda text: self.answer(method, text)

    def tell(self, text):
        with ECHO.changed:
            ECHO.told[text] = ECHO.told.get(text, 0) + 1
            ECHO.changed.notify_all()

    def answer(self, method, text):
        if text == "fail":
            raise TApplicationException(TApplicationException.MISSING_RESULT, "as asked")
        return ECHO.answer(method, text)


def serve_thriftpy2(processor, transport, protocol):
    listener = TServerSocket("127.0.0.1", 0, client_timeout=None)
    listener.listen()
    listener.listen, port = (lambda: None), listener.sock.getsockname()[1]
    server = TThreadedServer(processor, listener, transport(), protocol(), daemon=True)
    threading.Thread(target=server.serve, daemon=True).start()
    return port


def serve():
    ports = {f"apache_{dialect}": thrift_cases.serve_apache(dialect, 0) for dialect in SERVERS}
    processor = TProcessor(IDL, Handler())
    for dialect in DIALECTS:
        ports[f"thriftpy2_{dialect}"] = serve_thriftpy2(processor, *FACTORIES[dialect])
    orders = TMultiplexedProcessor()
    orders.register_processor("Orders", processor)
    ports["thriftpy2_orders"] = serve_thriftpy2(orders, *FACTORIES["framed_binary"])
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), thrift_cases.Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc, ports["grpc"] = serve_grpc()
    ports["web"] = web.server_port
    print("ready", *(f"{name}={port}" for name, port in ports.items()), flush=True)
    rpc.wait_for_termination()


def serve_grpc():
    rpc = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", {"Unary": echo}),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    return rpc, port


def servers_for(encoding):
    """Methods that lead to servers which read an encoding."""
    names = [f"{peer}_{transport}_{encoding}"
             for peer in ["apache", "thriftpy2", "npm"] for transport in ["framed", "buffered"]]
    header = ["npm_theader_binary"] if encoding == "binary" else []
    volo = [f"volo_{transport}" for transport in ["framed", "buffered", "ttheader", "multiplexed"]]
    return names + header + ["apache_theader"] + volo


TOLD = [("tell_apache", "apache_theader"), ("tell_thriftpy2", "thriftpy2_framed_binary"),
        ("tell_npm", "npm_buffered_binary"), ("tell_volo", "volo_ttheader")]


class Client:
    """thriftpy2's client, with its own encodings in Python or in C."""

    def __init__(self, target, dialect, service=None):
        transport, protocol = FACTORIES[dialect]
        if dialect.endswith("binary") and target.kind == "tls":
            transport = {"framed": TFramedTransportFactory, "buffered": TBufferedTransportFactory}[
                dialect.partition("_")[0]]
            protocol = TBinaryProtocolFactory
        bottom = TSocket(sock=target.socket())
        factory = protocol()
        if service:
            factory = TMultiplexedProtocolFactory(factory, service)
        self.client = TClient(IDL, factory.get_protocol(transport().get_transport(bottom)))

    def call(self, method, text):
        return getattr(self.client, method)(text)

    def tell(self, method, text):
        getattr(self.client, method)(text)

    def error(self, method, text):
        try:
            answer = self.call(method, text)
        except TApplicationException as error:
            return error.type, error.message
        raise AssertionError(f"{method} was answered: {answer}")

    def close(self):
        self.client.close()


class ApacheClient(Caller):
    def tell(self, method, text):
        self.send(method, text, kind=TMessageType.ONEWAY)


CLIENTS = [("thriftpy2", Client, DIALECTS), ("apache", ApacheClient, thrift_cases.CALLERS)]


def case_every_server(open_client, name, encoding):
    client = open_client()
    for method in servers_for(encoding):
        for text in ["", "hello", "ol\u00e1", "x" * 300_000]:
            assert client.call(method, text) == text, (method, text[:10])
    client.close()


def case_exceptions(open_client, name, encoding):
    client = open_client()
    for method in servers_for(encoding):
        assert client.error(method, "fail") == (5, "as asked"), method
        assert client.call(method, "on") == "on"
    assert client.error("nowhere", "x") == (1, "no_route")
    client.close()


def case_oneway(open_client, name, encoding):
    client = open_client()
    for tell, method in TOLD:
        if method in servers_for(encoding):
            client.tell(tell, f"{name} {tell}")
            assert client.call(method, f"told {name} {tell}") == "1"
    client.close()


def case_many_at_once(open_client, name, encoding):
    methods = servers_for(encoding)

    def ask(index):
        client = open_client()
        for count in range(40):
            text = f"{index} {count}" * (1 + count * 37 % 300)
            assert client.call(methods[(index + count) % len(methods)], text) == text
        client.close()

    with futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(12)))


def case_multiplexed(open_client, name, encoding):
    """By the name of the service: servers that take calls apart by it."""
    if encoding == "binary":
        client = open_client(service="Orders")
        assert client.call("thriftpy2_framed_binary", "orders") == "orders"
        client.close()
        client = open_client(service="Stock")
        assert client.call("npm_framed_binary", "stock") == "stock"
        client.close()
    client = open_client(service="Nobody")
    assert client.error("nowhere", "x") == (1, "no_route")
    client.close()


def load_curl(target):
    """Pages, ten on a connection: curl 7.88 asks once on one of HTTP/2 by prior knowledge."""
    curl = ["curl", "--silent", "--show-error", "--fail", "--max-time", f"{LIMIT_S}"]
    asked = 0
    for version in ["--http1.1", "--http2-prior-knowledge", "--http1.1"] * 8:
        pages = [f"/page/{index}" for index in range(1 if "prior" in version else 10)]
        urls = [f"http://{target.address}{page}" for page in pages]
        said = subprocess.run(curl + [version] + urls, capture_output=True, check=True)
        assert said.stdout.decode() == "".join(pages)
        asked += len(pages)
    return asked


def load_grpc(target):
    """Calls over h2c, many at a time on one connection."""
    with grpc.insecure_channel(target.address) as channel:
        call = channel.unary_unary("/Echo/Unary")
        for first in range(0, 400, 20):
            bodies = [b"%d" % index for index in range(first, first + 20)]
            asked = [call.future(body, timeout=LIMIT_S) for body in bodies]
            assert [one.result() for one in asked] == bodies
    return 400


def load_thrift(target, client, dialect):
    methods = servers_for(dialect.rpartition("_")[2])
    caller = client(target, dialect)
    for index in range(150):
        text = f"{dialect} {index}" * (1 + index * 37 % 400)
        assert caller.call(methods[index % len(methods)], text) == text
    caller.close()
    return 150


def load(target):
    """All at once, as soon as a line of standard input says so."""
    work = [(load_curl, ()), (load_curl, ()), (load_grpc, ()), (load_grpc, ())]
    for _, client, dialects in CLIENTS:
        work += [(load_thrift, (client, dialect)) for dialect in dialects]
    print("ready", flush=True)
    sys.stdin.readline()
    with futures.ThreadPoolExecutor(len(work)) as pool:
        asked = [pool.submit(one, target, *more) for one, more in work]
        passed = sum(one.result() for one in asked)
    print(f"{passed} passed, 0 failed")


def ask_all(targets):
    passed = failed = 0
    for target in targets:
        for peer, client, dialects in CLIENTS:
            for dialect in dialects:
                def open_client(service=None):
                    return client(target, dialect, service)

                name = f"{target.kind} {peer} {dialect}"
                for case_name, case in list(globals().items()):
                    if not case_name.startswith("case_"):
                        continue
                    try:
                        case(open_client, name, dialect.rpartition("_")[2])
                        passed += 1
                    except Exception as error:
                        failed += 1
                        print(f"FAILED {name} {case_name}: {error!r}")
    print(f"{passed} passed, {failed} failed")


def main():
    # Servers report each connection that a case closes in the middle of something.
    logging.disable(logging.CRITICAL)
    if sys.argv[2] == "serve":
        serve()
    elif sys.argv[2] == "load":
        load(Target(sys.argv[3]))
    else:
        ask_all([Target(word) for word in sys.argv[3:]])


main()
