"""HTTP/2 through the gateway by Python's h2 on both sides, and by httpx as a client.

Usage: h2_cases.py SERVER_PORT SERVER_TLS_PORT CERT KEY CA TARGET...
A target is `h2c=HOST:PORT` or `tls=HOST:PORT`, a listener of the gateway. The script serves both
ports, asks every case of every target, and ends with `N passed, M failed`. h2 raises on whatever a
peer may not send.
"""
import asyncio
import socket
import ssl
import sys
import threading
import traceback

import httpx
from h2 import config, connection, errors, events

HANG_SECONDS = 60
LARGE = bytes(range(256)) * 12_000
reset = threading.Event()


class Peer:
    """A connection and its h2 state; what windows do not let out yet is queued by stream."""

    def __init__(self, sock, is_client):
        sock.settimeout(HANG_SECONDS)
        self.socket = sock
        self.h2 = connection.H2Connection(config.H2Configuration(is_client, "utf-8"))
        self.queues, self.endings = {}, {}
        self.h2.initiate_connection()
        self.pump()

    def send(self, stream, data=b"", end=False, trailers=None):
        self.queues.setdefault(stream, bytearray()).extend(data)
        if end or trailers:
            self.endings[stream] = trailers
        self.pump()

    def pump(self):
        for stream in list(self.queues):
            self.pump_stream(stream, self.queues[stream])
        self.socket.sendall(self.h2.data_to_send())

    def pump_stream(self, stream, queue):
        while queue and (room := self.h2.local_flow_control_window(stream)) > 0:
            size = min(room, self.h2.max_outbound_frame_size, len(queue))
            self.h2.send_data(stream, bytes(queue[:size]))
            del queue[:size]
        if queue:
            return
        del self.queues[stream]
        if stream in self.endings:
            trailers = self.endings.pop(stream)
            if trailers:
                self.h2.send_headers(stream, trailers, end_stream=True)
            else:
                self.h2.end_stream(stream)

    def received(self):
        """What came next; nothing behind the end of the connection."""
        data = self.socket.recv(65536)
        if not data:
            return None
        found = self.h2.receive_data(data)
        for event in found:
            if isinstance(event, events.DataReceived):
                self.acknowledge(event)
            if isinstance(event, events.StreamReset):
                self.queues.pop(event.stream_id, None)
                self.endings.pop(event.stream_id, None)
        self.pump()
        return found

    def acknowledge(self, event):
        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


class Server(Peer):
    """Echoes, and what a path asks for."""

    def __init__(self, sock):
        super().__init__(sock, False)
        self.heads, self.bodies, self.ends = {}, {}, {}

    def run(self):
        while (found := self.received()) is not None:
            for event in found:
                self.take(event)

    def take(self, event):
        match event:
            case events.RequestReceived():
                self.begin(event.stream_id, dict(event.headers))
            case events.DataReceived() if event.stream_id in self.bodies:
                self.bodies[event.stream_id] += event.data
                if self.heads[event.stream_id][":path"] == "/duplex":
                    self.send(event.stream_id, event.data)
            case events.TrailersReceived():
                self.ends[event.stream_id] = event.headers
            case events.StreamEnded() if event.stream_id in self.bodies:
                self.answer(event.stream_id)
            case events.StreamReset() if self.heads[event.stream_id][":path"] == "/wait":
                reset.set()

    def begin(self, stream, head):
        self.heads[stream], self.bodies[stream] = head, bytearray()
        match head[":path"]:
            case "/duplex":
                self.h2.send_headers(stream, [(":status", "200")])
            case "/hints":
                self.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
            case "/cut":
                self.h2.send_headers(stream, [(":status", "200"), ("content-length", "100")])
                self.send(stream, b"half")
                self.h2.reset_stream(stream, errors.ErrorCodes.INTERNAL_ERROR)
                del self.bodies[stream]
            case "/wait":
                del self.bodies[stream]
                self.h2.send_headers(stream, [(":status", "200")])
        self.pump()

    def answer(self, stream):
        head, body = self.heads[stream], self.bodies[stream]
        if head[":path"] == "/duplex":
            self.send(stream, end=True)
        elif head[":path"] == "/empty":
            self.h2.send_headers(stream, [(":status", "204")], end_stream=True)
        elif head[":method"] == "HEAD":
            fields = [(":status", "200"), ("content-length", "12345")]
            self.h2.send_headers(stream, fields, end_stream=True)
        else:
            fields = [(":status", "200"), ("x-method", head[":method"])]
            fields += [("x-seen", head["x-sent"])] if "x-sent" in head else []
            self.h2.send_headers(stream, fields)
            self.send(stream, body, end=True, trailers=self.ends.get(stream))
        self.pump()


def serve(listener, context):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock, context), daemon=True).start()


def serve_one(sock, context):
    try:
        Server(context.wrap_socket(sock, server_side=True) if context else sock).run()
    except (OSError, TimeoutError):
        pass


def start_server(port, context=None):
    listener = socket.create_server(("127.0.0.1", int(port)))
    threading.Thread(target=serve, args=(listener, context), daemon=True).start()


class Client(Peer):
    """A connection to the gateway, with what each stream has got so far."""

    def __init__(self, target):
        sock = socket.create_connection(target.address)
        if target.context:
            sock = target.context.wrap_socket(sock, server_hostname="edge.test")
            assert sock.selected_alpn_protocol() == "h2"
        super().__init__(sock, True)
        self.seen = {}

    def ask(self, method, path, fields=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http")]
        head += [(":authority", "edge.test"), *fields]
        self.h2.send_headers(stream, head, end_stream=end)
        self.seen[stream] = []
        self.pump()
        return stream

    def wait(self, stream, kind):
        """The stream's next event of a kind."""
        while True:
            for event in self.seen[stream]:
                if isinstance(event, kind):
                    self.seen[stream].remove(event)
                    return event
            self.collect()

    def collect(self):
        found = self.received()
        assert found is not None, "the gateway closed the connection"
        for event in found:
            self.seen.setdefault(getattr(event, "stream_id", None), []).append(event)

    def body(self, stream):
        """The whole body; fails when the stream is reset."""
        while not any(isinstance(event, events.StreamEnded) for event in self.seen[stream]):
            assert not any(isinstance(event, events.StreamReset) for event in self.seen[stream])
            self.collect()
        data = (event for event in self.seen[stream] if isinstance(event, events.DataReceived))
        return b"".join(event.data for event in data)


class Target:
    def __init__(self, word, ca):
        kind, address = word.split("=")
        host, port = address.split(":")
        self.address, self.context = (host, int(port)), None
        self.base = f"{'https' if kind == 'tls' else 'http'}://{address}"
        if kind == "tls":
            self.context = ssl.create_default_context(cafile=ca)
            self.context.set_alpn_protocols(["h2"])

    def httpx(self, kind=httpx.Client):
        verify = self.context or True
        return kind(http1=False, http2=True, verify=verify, timeout=HANG_SECONDS,
                    base_url=self.base)


# The name that a certificate is held against, as httpx wants to be told.
NAMED = {"extensions": {"sni_hostname": "edge.test"}}


def case_h2_echo(target):
    client = Client(target)
    stream = client.ask("POST", "/echo", [("x-sent", "a")], end=False)
    client.send(stream, LARGE, end=True)
    head = dict(client.wait(stream, events.ResponseReceived).headers)
    assert (head[":status"], head["x-seen"], head["x-method"]) == ("200", "a", "POST"), head
    assert client.body(stream) == LARGE


def case_h2_trailers(target):
    client = Client(target)
    stream = client.ask("POST", "/echo", [("te", "trailers")], end=False)
    client.send(stream, b"body", trailers=[("x-end", "z")])
    assert client.body(stream) == b"body"
    assert ("x-end", "z") in client.wait(stream, events.TrailersReceived).headers


def case_h2_both_ways_in_turn(target):
    client = Client(target)
    stream = client.ask("POST", "/duplex", end=False)
    client.wait(stream, events.ResponseReceived)
    for index in range(30):
        piece = b"%d" % index
        client.send(stream, piece)
        assert client.wait(stream, events.DataReceived).data == piece
    client.send(stream, end=True)
    assert client.body(stream) == b""


def case_h2_streams_interleave(target):
    client = Client(target)
    streams = [client.ask("POST", "/echo", end=False) for _ in range(50)]
    for stream in reversed(streams):
        client.send(stream, b"%d" % stream, end=True)
    assert all(client.body(stream) == b"%d" % stream for stream in streams)


def case_h2_reset_reaches_the_server(target):
    reset.clear()
    client = Client(target)
    stream = client.ask("POST", "/wait", end=False)
    client.wait(stream, events.ResponseReceived)
    client.h2.reset_stream(stream, errors.ErrorCodes.CANCEL)
    client.pump()
    assert reset.wait(HANG_SECONDS), "the server never learned of it"
    other = client.ask("GET", "/echo")
    assert client.body(other) == b""


def case_h2_cut_reaches_the_client(target):
    client = Client(target)
    stream = client.ask("GET", "/cut")
    head = dict(client.wait(stream, events.ResponseReceived).headers)
    # The reset may be there before the head has left.
    if head[":status"] != "502":
        client.wait(stream, events.StreamReset)
    other = client.ask("GET", "/echo")
    assert client.body(other) == b""


def case_h2_hints(target):
    client = Client(target)
    stream = client.ask("GET", "/hints")
    head = dict(client.wait(stream, events.InformationalResponseReceived).headers)
    assert (head[":status"], head["link"]) == ("103", "</a>"), head
    assert dict(client.wait(stream, events.ResponseReceived).headers)[":status"] == "200"


def case_h2_heads_without_bodies(target):
    client = Client(target)
    for method, path, status in (("HEAD", "/", "200"), ("GET", "/empty", "204")):
        stream = client.ask(method, path)
        head = dict(client.wait(stream, events.ResponseReceived).headers)
        assert head[":status"] == status and client.body(stream) == b"", head
        assert method == "GET" or head["content-length"] == "12345", head


def case_h2_pings(target):
    client = Client(target)
    for index in range(5):
        client.h2.ping(b"%08d" % index)
        client.pump()
        client.seen.setdefault(None, [])
        assert client.wait(None, events.PingAckReceived).ping_data == b"%08d" % index


def case_httpx_requests(target):
    with target.httpx() as client:
        reply = client.post("/echo", content=LARGE, headers={"x-sent": "a"}, **NAMED)
        assert reply.http_version == "HTTP/2" and reply.status_code == 200
        assert reply.content == LARGE and reply.headers["x-seen"] == "a"
        reply = client.head("/", **NAMED)
        assert reply.headers["content-length"] == "12345" and reply.content == b""
        assert client.get("/empty", **NAMED).status_code == 204
        assert client.put("/echo", content=b"x", **NAMED).headers["x-method"] == "PUT"


def case_httpx_streams(target):
    with target.httpx() as client:
        pieces = (b"%d," % index for index in range(1000))
        with client.stream("POST", "/duplex", content=pieces, **NAMED) as reply:
            got = b"".join(reply.iter_bytes())
        assert got == b"".join(b"%d," % index for index in range(1000))


def case_httpx_many_at_once(target):
    # Not by threads: they would read and write one TLS socket at the same time, which Python 3.11
    # did not bear in 3 of 40 runs.
    async def ask_all():
        async with target.httpx(httpx.AsyncClient) as client:
            bodies = [b"%d" % index for index in range(200)]
            asked = [client.post("/echo", content=body, **NAMED) for body in bodies]
            assert [reply.content for reply in await asyncio.gather(*asked)] == bodies

    asyncio.run(ask_all())


def case_httpx_cut(target):
    with target.httpx() as client:
        try:
            assert client.get("/cut", **NAMED).status_code == 502, "half a body passed for all"
        except httpx.RemoteProtocolError:
            pass


CASES = {name[5:]: case for name, case in sorted(globals().items()) if name.startswith("case_")}


def main(plain_port, tls_port, cert, key, ca, *words):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    start_server(plain_port)
    start_server(tls_port, context)
    passed = failed = 0
    for word in words:
        for name, case in CASES.items():
            try:
                case(Target(word, ca))
                passed += 1
            except Exception:
                failed += 1
                print(f"{word} {name}: {traceback.format_exc()}")
    print(f"{passed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
