"""h11 on both sides of the gateway: python3 h11_cases.py HOST PORT ORIGIN_PORT.

The client and the origin are both h11 and both here, so each case says in one place what either
sends and what the other must see. h11 raises on every byte that its state machine does not allow.
The gateway must add no fields.

Ends with `N passed, M failed`; exits with 1 when one failed. No failure stands.
"""

import selectors
import socket
import sys
import threading
import traceback

import h11

HANG_SECONDS = 60
LARGE = bytes(range(256)) * 4096


class Side:
    """A connection and its h11 state."""

    def __init__(self, role, connection):
        connection.settimeout(HANG_SECONDS)
        self.socket, self.wire = connection, h11.Connection(role)

    def send(self, *events):
        for event in events:
            data = self.wire.send(event)
            if data:
                self.socket.sendall(data)

    def send_body(self, *pieces, trailers=()):
        self.send(*(h11.Data(data=piece) for piece in pieces), h11.EndOfMessage(headers=trailers))

    def event(self):
        while (event := self.wire.next_event()) is h11.NEED_DATA:
            self.wire.receive_data(self.socket.recv(65536))
        return event

    def head(self, kind):
        event = self.event()
        assert isinstance(event, kind), event
        return event

    def body(self):
        """Content and trailers up to the end of the message."""
        content = bytearray()
        while True:
            event = self.event()
            if isinstance(event, h11.EndOfMessage):
                return bytes(content), list(event.headers)
            assert isinstance(event, h11.Data), event
            content += event.data

    def is_cut(self):
        """Whether the message ends before its end, which h11 tells from a whole one."""
        try:
            self.body()
        except (h11.RemoteProtocolError, ConnectionResetError):
            return True
        return False

    def goes_on(self):
        self.wire.start_next_cycle()


class Client(Side):
    def __init__(self, address):
        super().__init__(h11.CLIENT, socket.create_connection(address))

    def request(self, method="GET", target="/", fields=()):
        self.send(h11.Request(method=method, target=target, headers=[("Host", "test"), *fields]))

    def get(self):
        self.request()
        self.send(h11.EndOfMessage())

    def reply(self, status):
        """Head, content and trailers of the final reply."""
        head = self.head(h11.Response)
        assert head.status_code == status, head
        return (head, *self.body())

    def is_closed(self):
        return self.event() == h11.ConnectionClosed()


class Origin:
    """Takes requests in the order they come, on whichever link."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.selector, self.links = selectors.DefaultSelector(), 0
        self.selector.register(self.listener, selectors.EVENT_READ)

    def request(self):
        """The link with the next request, and its head. Idle links that ended are dropped."""
        while True:
            key, _ = self.selector.select(HANG_SECONDS)[0]
            if key.fileobj is self.listener:
                link = Side(h11.SERVER, self.listener.accept()[0])
                self.links += 1
                self.selector.register(link.socket, selectors.EVENT_READ, link)
                continue
            link = key.data
            event = link.event()
            if isinstance(event, h11.Request):
                return link, event
            assert isinstance(event, h11.ConnectionClosed), event
            self.forget(link)

    def forget(self, link):
        self.selector.unregister(link.socket)
        link.socket.close()


def answer(link, *pieces, status=200, fields=(), trailers=()):
    link.send(h11.Response(status_code=status, headers=fields))
    link.send_body(*pieces, trailers=trailers)


def served(client, origin):
    """One more plain exchange on the client's connection."""
    client.get()
    link, head = origin.request()
    assert link.body() == (b"", [])
    answer(link, fields=[("Content-Length", "0")])
    assert client.reply(200)[1:] == (b"", [])
    client.goes_on()
    link.goes_on()
    return link, head


CHUNKED = ("Transfer-Encoding", "chunked")


def chunks_with_trailers_in_a_request(client, origin):
    client.request("POST", "/up", [CHUNKED])
    client.send_body(b"hel", b"", b"lo", trailers=[("X-Sum", "1"), ("X-Sum", "2"), ("X-Empty", "")])
    link, head = origin.request()
    assert (head.method, head.target) == (b"POST", b"/up")
    assert (b"transfer-encoding", b"chunked") in list(head.headers)
    trailers = [(b"x-sum", b"1"), (b"x-sum", b"2"), (b"x-empty", b"")]
    assert link.body() == (b"hello", trailers)
    answer(link, b"ok", fields=[("Content-Length", "2")])
    assert client.reply(200)[1:] == (b"ok", [])
    link.goes_on()
    client.goes_on()
    served(client, origin)


def chunks_with_trailers_in_a_reply(client, origin):
    client.request(fields=[("TE", "trailers"), ("Connection", "TE")])
    client.send_body()
    link, head = origin.request()
    assert (b"te", b"trailers") in list(head.headers)
    link.body()
    answer(link, b"a" * 70000, b"b", trailers=[("X-Sum", "1"), ("X-Last", b"\xe9")])
    _, content, trailers = client.reply(200)
    assert content == b"a" * 70000 + b"b"
    assert trailers == [(b"x-sum", b"1"), (b"x-last", b"\xe9")], trailers
    link.goes_on()
    client.goes_on()
    served(client, origin)


def trailers_in_both_messages_of_an_exchange(client, origin):
    for turn in range(5):
        client.request("PUT", f"/{turn}", [CHUNKED])
        client.send_body(b"x" * turn, trailers=[("X-Turn", str(turn))])
        link, _ = origin.request()
        assert link.body() == (b"x" * turn, [(b"x-turn", b"%d" % turn)])
        answer(link, b"y" * turn, trailers=[("X-Back", str(turn))])
        assert client.reply(200)[1:] == (b"y" * turn, [(b"x-back", b"%d" % turn)])
        link.goes_on()
        client.goes_on()


def large_bodies_in_both_framings(client, origin):
    for fields in ([CHUNKED], [("Content-Length", str(len(LARGE)))]):
        pieces = [LARGE[at : at + 9_973] for at in range(0, len(LARGE), 9_973)]
        client.request("POST", fields=fields)
        sending = threading.Thread(target=lambda: client.send_body(*pieces))
        sending.start()
        link, _ = origin.request()
        assert link.body() == (LARGE, [])
        sending.join()
        answering = threading.Thread(target=lambda: answer(link, *pieces, fields=fields))
        answering.start()
        assert client.reply(200)[1:] == (LARGE, [])
        answering.join()
        link.goes_on()
        client.goes_on()


EXPECT = [("Expect", "100-continue"), ("Content-Length", "5")]


def a_100_lets_the_body_come(client, origin):
    for _ in range(3):
        client.request("POST", fields=EXPECT)
        assert client.wire.client_is_waiting_for_100_continue
        link, _ = origin.request()
        assert link.wire.they_are_waiting_for_100_continue
        link.send(h11.InformationalResponse(status_code=100, headers=[]))
        assert client.head(h11.InformationalResponse).status_code == 100
        client.send_body(b"hello")
        assert link.body() == (b"hello", [])
        answer(link, status=204)
        client.reply(204)
        link.goes_on()
        client.goes_on()
    assert origin.links == 1, origin.links


def a_100_lets_chunks_come(client, origin):
    client.request("POST", fields=[("Expect", "100-continue"), CHUNKED])
    link, _ = origin.request()
    link.send(h11.InformationalResponse(status_code=100, headers=[]))
    client.head(h11.InformationalResponse)
    client.send_body(b"hel", b"lo", trailers=[("X-Sum", "1")])
    assert link.body() == (b"hello", [(b"x-sum", b"1")])
    answer(link, status=204)
    client.reply(204)
    link.goes_on()
    client.goes_on()
    served(client, origin)


def a_body_that_does_not_wait_for_its_100(client, origin):
    client.request("POST", fields=EXPECT)
    client.send_body(b"hello")
    link, _ = origin.request()
    assert link.body() == (b"hello", [])
    answer(link, status=204)
    client.reply(204)
    link.goes_on()
    client.goes_on()
    served(client, origin)


def a_final_reply_instead_of_100(client, origin):
    client.request("POST", fields=EXPECT)
    link, _ = origin.request()
    answer(link, b"no", status=413, fields=[("Content-Length", "2")])
    head, content, _ = client.reply(413)
    assert content == b"no"
    assert (b"connection", b"close") in list(head.headers)
    assert client.wire.states[h11.CLIENT] is h11.SEND_BODY
    assert client.socket.recv(1) == b"", "the gateway did not close"
    origin.forget(link)


def an_early_final_reply(client, origin):
    # A short rest is read and dropped, and the connection is kept.
    client.request("POST", fields=[("Content-Length", "9")])
    client.send(h11.Data(data=b"hel"))
    link, _ = origin.request()
    answer(link, b"no", status=403, fields=[("Content-Length", "2")])
    assert client.reply(403)[1] == b"no"
    client.send_body(b"lo you")
    client.goes_on()
    origin.forget(link)
    served(client, origin)


def informational_replies_come_in_order(client, origin):
    client.get()
    link, _ = origin.request()
    link.body()
    for status in (103, 102, 103):
        hint = [("Link", f"<{status}>; rel=preload")]
        link.send(h11.InformationalResponse(status_code=status, headers=hint))
    for status in (103, 102, 103):
        head = client.head(h11.InformationalResponse)
        link_field = b"<%d>; rel=preload" % status
        assert (head.status_code, dict(head.headers)[b"link"]) == (status, link_field), head
    answer(link, b"ok", fields=[("Content-Length", "2")])
    assert client.reply(200)[1] == b"ok"
    link.goes_on()
    client.goes_on()
    served(client, origin)


def replies_without_content(client, origin):
    length, chunked = [("Content-Length", "1000")], [CHUNKED]
    cases = [("HEAD", 200, length), ("HEAD", 200, chunked), ("HEAD", 404, []), ("GET", 204, []),
             ("GET", 304, length), ("GET", 304, []), ("HEAD", 304, length), ("HEAD", 204, [])]
    for method, status, fields in cases:
        client.request(method)
        client.send_body()
        link, head = origin.request()
        assert head.method == method.encode()
        link.body()
        answer(link, status=status, fields=fields)
        head, content, trailers = client.reply(status)
        assert (content, trailers) == (b"", []), (method, status)
        if fields == length:
            assert (b"content-length", b"1000") in list(head.headers), head
        link.goes_on()
        client.goes_on()
    assert origin.links == 1, origin.links


def pipelined_requests(client, origin):
    """h11 sends one request at a time: the others are made by clients of their own."""
    count = 20
    readers, raw = [], b""
    for number in range(count):
        reader = h11.Connection(h11.CLIENT)
        method = ("GET", "HEAD", "POST")[number % 3]
        fields = [("Host", "test")] + ([CHUNKED] if method == "POST" else [])
        raw += reader.send(h11.Request(method=method, target=f"/{number}", headers=fields))
        if method == "POST":
            raw += reader.send(h11.Data(data=b"%d" % number))
        raw += reader.send(h11.EndOfMessage())
        readers.append((method, reader))
    client.socket.sendall(raw)
    for number, (method, _) in enumerate(readers):
        link, head = origin.request()
        assert (head.method, head.target) == (method.encode(), b"/%d" % number)
        assert link.body()[0] == (b"%d" % number if method == "POST" else b"")
        if method == "HEAD":
            answer(link)
        else:
            answer(link, b"reply %d" % number, trailers=[("X-End", "1")])
        link.goes_on()
    rest = b""
    for number, (method, reader) in enumerate(readers):
        side = Side(h11.CLIENT, client.socket)
        side.wire = reader
        if rest:
            reader.receive_data(rest)
        assert side.head(h11.Response).status_code == 200
        content, _ = side.body()
        assert content == (b"" if method == "HEAD" else b"reply %d" % number), content
        rest = reader.trailing_data[0]
    assert rest == b"" and origin.links == 1


def close_delimited(link, *pieces):
    """Answers as to HTTP/1.0: the end of the connection is the end of the content."""
    link.wire.their_http_version = b"1.0"
    answer(link, *pieces)
    assert link.wire.our_state is h11.MUST_CLOSE


def a_reply_that_ends_with_its_link(client, origin):
    client.get()
    link, _ = origin.request()
    link.body()
    close_delimited(link, b"hel", b"", b"lo")
    origin.forget(link)
    head, content, _ = client.reply(200)
    assert content == b"hello"
    # HTTP/1.1 clients get an end that they can tell from a cut.
    assert (b"transfer-encoding", b"chunked") in list(head.headers), head
    client.goes_on()
    served(client, origin)


def a_reply_that_ends_with_both_connections(client, origin):
    data = client.wire.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
    client.socket.sendall(data.replace(b"HTTP/1.1", b"HTTP/1.0"))
    client.wire.send(h11.EndOfMessage())
    link, head = origin.request()
    assert head.http_version == b"1.1"
    link.body()
    close_delimited(link, LARGE)
    origin.forget(link)
    head, content, _ = client.reply(200)
    assert content == LARGE
    assert not {b"content-length", b"transfer-encoding"} & dict(head.headers).keys(), head
    assert client.is_closed()


def a_request_that_says_close(client, origin):
    client.request(fields=[("Connection", "close")])
    client.send_body()
    link, head = origin.request()
    assert (b"connection", b"close") not in list(head.headers)
    link.body()
    answer(link, b"ok")
    link.goes_on()
    head, content, _ = client.reply(200)
    assert content == b"ok" and (b"connection", b"close") in list(head.headers)
    assert client.wire.states == {h11.CLIENT: h11.MUST_CLOSE, h11.SERVER: h11.MUST_CLOSE}
    assert client.is_closed()


def a_reply_that_is_cut_is_no_reply(client, origin):
    for fields in ([("Content-Length", "9")], [CHUNKED]):
        client.get()
        link, _ = origin.request()
        link.body()
        link.send(h11.Response(status_code=200, headers=fields), h11.Data(data=b"hello"))
        client.head(h11.Response)
        origin.forget(link)
        assert client.is_cut(), fields
        client = Client(client.socket.getpeername())
    served(client, origin)


def a_request_that_is_cut_is_no_request(client, origin):
    address = client.socket.getpeername()
    for fields in ([("Content-Length", "9")], [CHUNKED]):
        client.request("POST", fields=fields)
        client.send(h11.Data(data=b"hello"))
        link, _ = origin.request()
        client.socket.close()
        assert link.is_cut(), fields
        origin.forget(link)
        client = Client(address)
    served(client, origin)


def fields_arrive_as_they_were(client, origin):
    fields = [("X-A", "1"), ("x-b", ""), ("X-a", "\u00ff\u20ac".encode()), ("X-C", "a  b\t,c")]
    wanted = [(b"x-a", b"1"), (b"x-b", b""), (b"x-a", "\u00ff\u20ac".encode()),
              (b"x-c", b"a  b\t,c")]
    client.request(fields=fields)
    client.send_body()
    link, head = origin.request()
    assert list(head.headers) == [(b"host", b"test"), *wanted], head
    link.body()
    answer(link, fields=[*fields, ("Content-Length", "0")])
    head, _, _ = client.reply(200)
    assert [pair for pair in head.headers if pair[0].startswith(b"x-")] == wanted, head


def the_gateways_own_replies_are_whole(client, origin):
    """What the gateway answers by itself, h11 can read to its end."""
    address = client.socket.getpeername()
    for raw, status in [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505),
        (b"CONNECT test:1 HTTP/1.1\r\nHost: test:1\r\n\r\n", 501),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: test\r\nExpect: x\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    ]:
        client.wire.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
        client.wire.send(h11.EndOfMessage())
        client.socket.sendall(raw)
        head, content, _ = client.reply(status)
        assert content.startswith(b"%d " % status), content
        assert (b"connection", b"close") in list(head.headers), head
        assert client.is_closed()
        client = Client(address)
    client.get()
    link, _ = origin.request()
    link.body()
    origin.forget(link)
    assert client.reply(502)[1] == b"502 upstream_reset_before_head\n"
    client.goes_on()
    served(client, origin)


CASES = [
    chunks_with_trailers_in_a_request, chunks_with_trailers_in_a_reply,
    trailers_in_both_messages_of_an_exchange, large_bodies_in_both_framings,
    a_100_lets_the_body_come, a_100_lets_chunks_come, a_body_that_does_not_wait_for_its_100,
    a_final_reply_instead_of_100, an_early_final_reply, informational_replies_come_in_order,
    replies_without_content, pipelined_requests, a_reply_that_ends_with_its_link,
    a_reply_that_ends_with_both_connections,
    a_request_that_says_close, a_reply_that_is_cut_is_no_reply,
    a_request_that_is_cut_is_no_request, fields_arrive_as_they_were,
    the_gateways_own_replies_are_whole,
]


def main(host, port, origin_port):
    origin = Origin(int(origin_port))
    passed, failed = 0, 0
    for case in CASES:
        origin.links = 0
        client = Client((host, int(port)))
        try:
            case(client, origin)
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED: {case.__name__}: {traceback.format_exc()}", file=sys.stderr)
        client.socket.close()
        # The next case finds no links of this one.
        for key in list(origin.selector.get_map().values()):
            if key.data:
                origin.forget(key.data)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main(*sys.argv[1:])
