"""Thrift calls of every dialect through the gateway, judged here; both peers are Apache Thrift's.

Usage: thrift_cases.py PORT... TARGET...
One port for each of SERVERS, in its order, then one for an HTTP and one for a gRPC server; or no
port at all. A target is `plain=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway, or
`mock=HOST:PORT`, its mock. The script serves the ports, asks every case of every target, and ends
with `N passed, M failed`.
"""
import http.server
import logging
import socket
import ssl
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from thrift.protocol.TBase import TBase
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.server.TServer import TThreadedServer
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport import THeaderTransport, TSocket, TTransport

# Generous: it ends a run whose answer never comes, and no run on a machine that is busy.
LIMIT_S = 300
SERVERS = ["framed_binary", "framed_compact", "buffered_binary", "buffered_compact", "theader"]
HEADER_PROTOCOLS = {
    "binary": THeaderTransport.THeaderSubprotocolID.BINARY,
    "compact": THeaderTransport.THeaderSubprotocolID.COMPACT,
}


class Text(TBase):
    """The arguments and the result of every method: one string."""

    thrift_spec = (
        (0, TType.STRING, "success", "UTF8", None),
        (1, TType.STRING, "text", "UTF8", None),
    )

    def __init__(self, text=None, success=None):
        self.text = text
        self.success = success


class Echo:
    """Answers any method with what it was given, and knows what it was told one way."""

    def __init__(self):
        self.told = {}
        self.changed = threading.Condition()
        self.go_on = threading.Event()

    def process(self, iprot, oprot):
        name, kind, seqid = iprot.readMessageBegin()
        args = Text()
        args.read(iprot)
        iprot.readMessageEnd()
        if kind == TMessageType.ONEWAY:
            with self.changed:
                self.told[args.text] = self.told.get(args.text, 0) + 1
                self.changed.notify_all()
            return
        # The reply of a multiplexed call has the bare name.
        bare = name.split(":")[-1]
        success = self.answer(name, args.text)
        if args.text == "fail":
            oprot.writeMessageBegin(bare, TMessageType.EXCEPTION, seqid)
            TApplicationException(TApplicationException.MISSING_RESULT, "as asked").write(oprot)
        else:
            oprot.writeMessageBegin(bare, TMessageType.REPLY, seqid)
            Text(success=success).write(oprot)
        oprot.writeMessageEnd()
        oprot.trans.flush()

    def answer(self, name, text):
        if text == "wait":
            self.go_on.wait(LIMIT_S)
        if text.startswith("told "):
            return str(self.wait_told(text.removeprefix("told ")))
        return name if text == "name" else text

    def wait_told(self, text):
        """How often that came, once it has."""
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.told, LIMIT_S), f"{text} never came"
            return self.told[text]


ECHO = Echo()


def factories(dialect):
    transport, _, encoding = dialect.partition("_")
    if transport == "theader":
        default = HEADER_PROTOCOLS[encoding or "binary"]
        return TTransport.TTransportFactoryBase(), THeaderProtocolFactory(default_protocol=default)
    framed, buffered = TTransport.TFramedTransportFactory, TTransport.TBufferedTransportFactory
    binary, compact = TBinaryProtocolFactory, TCompactProtocolFactory
    return ({"framed": framed, "buffered": buffered}[transport](),
            {"binary": binary, "compact": compact}[encoding]())


def serve_apache(dialect, port):
    """Whoever asks from here on is heard; its port."""
    listener = TSocket.TServerSocket("127.0.0.1", port)
    listener.listen()
    # Listening twice would take a second port.
    listener.listen = lambda: None
    server = TThreadedServer(ECHO, listener, *factories(dialect), daemon=True)
    threading.Thread(target=server.serve, daemon=True).start()
    return listener.handle.getsockname()[1]


def start_servers(ports):
    for dialect, port in zip(SERVERS, ports):
        serve_apache(dialect, port)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", ports[len(SERVERS)]), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", {"Unary": echo}),))
    rpc.add_insecure_port(f"127.0.0.1:{ports[len(SERVERS) + 1]}")
    rpc.start()
    return rpc


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Target:
    def __init__(self, word):
        self.kind, _, self.address = word.partition("=")
        host, _, port = self.address.rpartition(":")
        self.host, self.port = host, int(port)

    def socket(self):
        plain = socket.create_connection((self.host, self.port), LIMIT_S)
        if self.kind != "tls":
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)


class Caller:
    """One connection of one dialect."""

    def __init__(self, target, dialect, service=None):
        transport, protocol = factories(dialect)
        bottom = TSocket.TSocket()
        bottom.setHandle(target.socket())
        self.bottom = bottom
        self.protocol = protocol.getProtocol(transport.getTransport(bottom))
        self.out = TMultiplexedProtocol(self.protocol, service) if service else self.protocol

    def send(self, method, text, seqid=0, kind=TMessageType.CALL):
        self.out.writeMessageBegin(method, kind, seqid)
        Text(text=text).write(self.protocol)
        self.out.writeMessageEnd()
        self.protocol.trans.flush()

    def receive(self):
        name, kind, seqid = self.protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            error = TApplicationException()
            error.read(self.protocol)
            self.protocol.readMessageEnd()
            raise error
        result = Text()
        result.read(self.protocol)
        self.protocol.readMessageEnd()
        return name, seqid, result.success

    def call(self, method, text, seqid=0):
        self.send(method, text, seqid)
        name, back, success = self.receive()
        assert (name, back) == (method, seqid), (name, back)
        return success

    def error(self, method, text):
        try:
            answer = self.call(method, text)
        except TApplicationException as error:
            return error.type, error.message
        raise AssertionError(f"{method} was answered: {answer}")

    def close(self):
        self.bottom.close()


CALLERS = ["framed_binary", "framed_compact", "buffered_binary", "buffered_compact",
           "theader_binary", "theader_compact"]


def upstreams(dialect):
    """Methods whose routes lead to servers that read the encoding of the caller."""
    encoding = dialect.partition("_")[2]
    return [f"framed_{encoding}", f"buffered_{encoding}", "theader"]


def case_every_dialect_to_every_other(target, dialect):
    caller = Caller(target, dialect)
    for method in upstreams(dialect):
        for seqid, text in [(0, ""), (7, "hello"), (-1, "ol\u00e1"), (2**31 - 1, "x" * 300_000)]:
            assert caller.call(method, text, seqid) == text, (method, seqid)
    caller.close()


def case_exceptions_of_servers(target, dialect):
    caller = Caller(target, dialect)
    for method in upstreams(dialect):
        assert caller.error(method, "fail") == (5, "as asked")
        assert caller.call(method, "on") == "on"
    caller.close()


def case_exceptions_of_the_gateway(target, dialect):
    caller = Caller(target, dialect)
    other = {"binary": "compact", "compact": "binary"}[dialect.partition("_")[2]]
    for method, expected in [
        ("nowhere", (1, "no_route")),
        ("absent", (6, "upstream_connect_failed")),
        ("web", (6, "protocol_mismatch")),
        (f"only_{other}", (6, "thrift_protocol_mismatch")),
        ("slow", (6, "request_timeout")),
    ]:
        text = "wait" if method == "slow" else "x" * 70_000
        assert caller.error(method, text) == expected, (method, expected)
        assert caller.call(upstreams(dialect)[0], "on") == "on"
    caller.close()


def case_oneway(target, dialect):
    for method in upstreams(dialect):
        text = f"{target.kind} {dialect} {method}"
        caller = Caller(target, dialect)
        caller.send(method, text, kind=TMessageType.ONEWAY)
        assert caller.call(method, "on") == "on"
        caller.send(method, f"{text}, and closed", kind=TMessageType.ONEWAY)
        caller.close()
        ECHO.wait_told(text)
        ECHO.wait_told(f"{text}, and closed")
    caller = Caller(target, dialect)
    caller.send("nowhere", "x", kind=TMessageType.ONEWAY)
    assert caller.call(upstreams(dialect)[0], "on") == "on", "nobody answers a oneway"
    caller.close()


def case_pipelined_calls_are_answered_in_order(target, dialect):
    caller = Caller(target, dialect)
    methods = upstreams(dialect) + ["nowhere"]
    for seqid in range(1, 41):
        caller.send(methods[seqid % 4], f"{seqid}" * (1 + seqid * 37 % 900), seqid)
    for seqid in range(1, 41):
        if seqid % 4 == 3:
            try:
                raise AssertionError(caller.receive())
            except TApplicationException as error:
                assert (error.type, error.message) == (1, "no_route")
            continue
        method, back, text = caller.receive()
        assert (method, back) == (methods[seqid % 4], seqid)
        assert text == f"{seqid}" * (1 + seqid * 37 % 900)
    caller.close()


def case_multiplexed(target, dialect):
    caller = Caller(target, dialect, service="Orders")
    encoding = dialect.partition("_")[2]
    assert caller.call(encoding, "name") == f"Orders:{encoding}"
    caller.close()
    caller = Caller(target, dialect, service="Nobody")
    assert caller.error(encoding, "x") == (1, "no_route")
    caller.close()


def case_one_port_for_everything(target, dialect):
    """curl, grpcio and Apache Thrift at once."""
    scheme = {"plain": "http", "tls": "https"}[target.kind]
    curl = ["curl", "--silent", "--show-error", "--fail", "--insecure", "--max-time", f"{LIMIT_S}"]

    def web():
        for version in ["--http1.1", "--http2", "--http2-prior-knowledge"] * 3:
            # curl 7.88 cannot ask twice on a connection of HTTP/2 by prior knowledge.
            pages = [f"/page/{index}" for index in range(1 if "prior" in version else 10)]
            urls = [f"{scheme}://{target.address}{page}" for page in pages]
            said = subprocess.run(curl + [version] + urls, capture_output=True, check=True)
            assert said.stdout.decode() == "".join(pages)

    def rpc():
        with grpc.insecure_channel(target.address) as channel:
            call = channel.unary_unary("/Echo/Unary")
            for index in range(100):
                assert call(b"%d" % index, timeout=LIMIT_S) == b"%d" % index

    def thrift():
        caller = Caller(target, dialect)
        for index in range(100):
            method = upstreams(dialect)[index % 3]
            assert caller.call(method, f"{index}", index) == f"{index}"
        caller.close()

    work = [web, thrift, thrift] + ([rpc] if target.kind == "plain" else [])
    with futures.ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result(LIMIT_S)


def mock_echoes(target, dialect):
    caller = Caller(target, dialect)
    for seqid, text in [(0, ""), (7, "hello"), (-1, "ol\u00e1"), (2**31 - 1, "x" * 300_000)]:
        assert caller.call("echo", text, seqid) == text, seqid
    assert caller.error("fail", "x") == (6, "as asked")
    caller.send("tell", "x", kind=TMessageType.ONEWAY)
    for seqid in range(100):
        caller.send("echo", f"{seqid}", seqid)
    for seqid in range(100):
        assert caller.receive() == ("echo", seqid, f"{seqid}")
    caller.close()
    caller = Caller(target, dialect, service="Orders")
    caller.send("echo", "on", 3)
    assert caller.receive() == ("echo", 3, "on"), "the reply of a multiplexed call"
    caller.close()


def main():
    # Servers report each connection that a case closes in the middle of something.
    logging.disable(logging.CRITICAL)
    ports = [int(word) for word in sys.argv[1:] if word.isdigit()]
    targets = [Target(word) for word in sys.argv[1:] if "=" in word]
    server = start_servers(ports) if ports else None
    passed = failed = 0
    for target in targets:
        prefix = "mock_" if target.kind == "mock" else "case_"
        for name, case in list(globals().items()):
            if not name.startswith(prefix):
                continue
            for dialect in CALLERS:
                try:
                    case(target, dialect)
                    passed += 1
                except Exception as error:
                    failed += 1
                    print(f"FAILED {target.kind} {dialect} {name}: {error!r}")
    ECHO.go_on.set()
    doubled = {text: count for text, count in ECHO.told.items() if count != 1}
    if doubled:
        failed += 1
        print(f"FAILED oneways came more often than they were sent: {doubled}")
    if server:
        server.stop(None)
    print(f"{passed} passed, {failed} failed")


if __name__ == "__main__":
    main()
