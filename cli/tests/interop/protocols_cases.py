"""curl, grpcio over TLS and Apache Thrift, each at the port of its protocol, judged here.

Usage: protocols_cases.py SERVER_PORTS CA http=ADDRESS grpc=ADDRESS thrift=ADDRESS
SERVER_PORTS are three with commas, for an HTTP, a gRPC and a framed Thrift server. The script
serves them, asks every case at the addresses, which are the gateway's, and ends with `N passed, M
failed`.
"""
import http.server
import logging
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolFactory
from thrift.server.TServer import TThreadedServer
from thrift.Thrift import TMessageType, TType
from thrift.transport import TSocket, TTransport

BODY_BYTES_MAX = 10_000_000
LARGE = (("grpc.max_receive_message_length", 1 << 25), ("grpc.max_send_message_length", 1 << 25))


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(self.path.encode())

    def do_POST(self):
        self.answer(b"%d" % len(self.rfile.read(int(self.headers["content-length"]))))

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Echo:
    """Answers any method with the string that it was given."""

    def process(self, iprot, oprot):
        name, _, seqid = iprot.readMessageBegin()
        text = read_text(iprot)
        oprot.writeMessageBegin(name, TMessageType.REPLY, seqid)
        write_text(oprot, 0, text)


class Listener(TSocket.TServerSocket):
    """Tells when it accepts."""

    def __init__(self, port):
        super().__init__("127.0.0.1", port)
        self.accepts = threading.Event()

    def listen(self):
        super().listen()
        self.accepts.set()


def read_text(protocol):
    protocol.readStructBegin()
    protocol.readFieldBegin()
    text = protocol.readString()
    protocol.readFieldEnd()
    protocol.readFieldBegin()
    protocol.readStructEnd()
    protocol.readMessageEnd()
    return text


def write_text(protocol, field, text):
    protocol.writeStructBegin("text")
    protocol.writeFieldBegin("text", TType.STRING, field)
    protocol.writeString(text)
    protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()
    protocol.writeMessageEnd()
    protocol.trans.flush()


def start_servers(web_port, rpc_port, thrift_port):
    web = http.server.ThreadingHTTPServer(("127.0.0.1", web_port), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=LARGE)
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", {"Unary": echo}),))
    rpc.add_insecure_port(f"127.0.0.1:{rpc_port}")
    rpc.start()
    listener = Listener(thrift_port)
    framed, binary = TTransport.TFramedTransportFactory(), TBinaryProtocolFactory()
    server = TThreadedServer(Echo(), listener, framed, binary, daemon=True)
    threading.Thread(target=server.serve, daemon=True).start()
    assert listener.accepts.wait(20), "the server of Thrift does not begin"
    return rpc


def curl(address, path, *options):
    command = ["curl", "--silent", "--show-error", "--max-time", "60", *options]
    command += ["--write-out", "%{http_code}", f"http://{address}{path}"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def case_curl(at, ca):
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        assert curl(at["http"], "/page", version) == "/page200", version


def case_a_large_body(at, ca):
    def post(count):
        command = ["curl", "--silent", "--max-time", "60", "--data-binary", "@-", "--write-out",
                   "%{http_code}", f"http://{at['http']}/upload"]
        said = subprocess.run(command, input=b"x" * count, capture_output=True, check=True)
        return said.stdout.decode()

    assert post(BODY_BYTES_MAX) == f"{BODY_BYTES_MAX}200"
    assert post(BODY_BYTES_MAX + 1) == "413 body_too_large\n413"


def case_grpcio(at, ca):
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    options = (("grpc.ssl_target_name_override", "edge.test"), *LARGE)
    with grpc.secure_channel(at["grpc"], credentials, options) as channel:
        call = channel.unary_unary("/Echo/Unary")
        assert call(b"hello", timeout=30) == b"hello"
        large = b"x" * (BODY_BYTES_MAX + 1)
        assert call(large, timeout=60) == large, "the limit is for HTTP"
    with grpc.insecure_channel(at["grpc"]) as channel:
        try:
            channel.unary_unary("/Echo/Unary")(b"hello", timeout=10)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        else:
            raise AssertionError("a caller without TLS was answered")


def thrift_call(at, transport, text):
    host, _, port = at["thrift"].rpartition(":")
    bottom = TSocket.TSocket(host, int(port))
    bottom.setTimeout(60_000)
    protocol = TBinaryProtocol(transport(bottom))
    protocol.trans.open()
    try:
        protocol.writeMessageBegin("say", TMessageType.CALL, 7)
        write_text(protocol, 1, text)
        name, kind, seqid = protocol.readMessageBegin()
        assert (name, kind, seqid) == ("say", TMessageType.REPLY, 7), (name, kind, seqid)
        return read_text(protocol)
    finally:
        protocol.trans.close()


def case_apache_thrift(at, ca):
    for text in ["hello", "x" * 300_000]:
        assert thrift_call(at, TTransport.TFramedTransport, text) == text


def case_another_transport_is_refused(at, ca):
    try:
        answer = thrift_call(at, TTransport.TBufferedTransport, "hello")
    except TTransport.TTransportException as error:
        assert error.type in (error.END_OF_FILE, error.UNKNOWN), error
    except OSError:
        pass
    else:
        raise AssertionError(f"a buffered caller was answered: {answer}")


def main(ports, ca, *addresses):
    # Servers report each connection that ends in the middle of something.
    logging.disable(logging.CRITICAL)
    server = start_servers(*(int(port) for port in ports.split(",")))
    at = dict(word.split("=", 1) for word in addresses)
    passed = failed = 0
    for name, case in list(globals().items()):
        if not name.startswith("case_"):
            continue
        try:
            case(at, ca)
            passed += 1
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {error!r}")
    server.stop(None)
    print(f"{passed} passed, {failed} failed")


main(*sys.argv[1:])
