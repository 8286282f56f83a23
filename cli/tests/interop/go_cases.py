"""The case tables of Go's net/http against the gateway: python3 go_cases.py HOST PORT ORIGIN_PORT.

The tables are read from the installed sources of Go (Debian's golang-1.19-src). Their requests are
sent through the gateway to a recording origin on ORIGIN_PORT, their replies are played by it; what
comes out on the other side is compared with what Go expects. The gateway must add no fields.

Ends with `N passed, M failed`. A difference stands when STANDS names it: there the gateway is
stricter, with the section that lets it be. Exits with 1 when a difference does not stand, or when
the tables held fewer cases than they should.
"""

import glob
import re
import socket
import sys
import threading

from go_literals import Call, Literal, Name, table

SOURCES = "/usr/share/go-1.19/src/net/http"
CASES_MIN = 100
# Fields that concern one hop, or that say only how the body is framed.
HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te"}
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def has(raw, pattern):
    return re.search(pattern, raw, re.I | re.M | re.S) is not None


def lacks_host(raw):
    return has(raw, rb"\A[^\r\n]* HTTP/1\.1\r\n") and not has(raw, rb"^host:")


def both_framings(raw):
    return has(raw, rb"^content-length:") and has(raw, rb"^transfer-encoding:")


def lengths(raw):
    head = raw.split(b"\r\n\r\n")[0]
    return re.findall(rb"^content-length:[ \t]*(.*?)[ \t]*\r?$", head, re.I | re.M)


# Where the gateway refuses what Go takes: a test of the raw bytes, the section, the reason.
STANDS = [
    (lambda raw: raw.startswith(b"CONNECT "), "RFC 9110 9.3.6", "CONNECT is not served"),
    (lambda raw: raw.startswith(b"PRI * HTTP/2.0"), "RFC 9112 2.3", "no HTTP/2 on this port"),
    (lacks_host, "RFC 9112 3.2", "HTTP/1.1 without Host is 400"),
    (lambda raw: has(raw, rb"^host: \r$"), "RFC 9110 4.2.1", "a host is not empty"),
    (lambda raw: has(raw, rb"^host: ::1"), "RFC 3986 3.2.2", "IPv6 stands in brackets"),
    (lambda raw: has(raw, rb"^host: \[.*%"), "RFC 3986 3.2.2", "a host has no zone"),
    (both_framings, "RFC 9112 6.3", "both framings are refused"),
    (lambda raw: len(lengths(raw)) > 1, "RFC 9112 6.3", "two lengths are refused, equal or not"),
    (lambda raw: lengths(raw) == [b""], "RFC 9112 6.3", "an empty length is invalid"),
    (lambda raw: has(raw, rb"\AHTTP/1\.0.*^transfer-encoding:"), "RFC 9112 6.1",
     "Transfer-Encoding in HTTP/1.0 is faulty framing"),
    (lambda raw: has(raw, rb"[^\r]\n") and b"\r\n" not in raw, "RFC 9112 2.2",
     "LF alone ends no line"),
    (lambda raw: has(raw, rb"\AHTTP/1\.[01]  "), "RFC 9112 4", "one space before the status"),
    (lambda raw: has(raw, rb"\AHTTP/1\.[01] 0"), "RFC 9110 15", "a status has a class from 1 to 5"),
    (lambda raw: has(raw, rb"\AHTTP/(1\.2|2\.0) "), "RFC 9110 6.2", "not a version spoken here"),
]


class Cut(Exception):
    """The peer closed, or said nothing for long."""


class Stream:
    """A socket that is read as HTTP/1.1 in its plainest form."""

    def __init__(self, connection):
        connection.settimeout(60)
        self.socket, self.unread = connection, b""

    def fill(self):
        try:
            more = self.socket.recv(65536)
        except OSError as error:
            raise Cut(str(error)) from error
        if not more:
            raise Cut("closed")
        self.unread += more

    def until(self, mark):
        while mark not in self.unread:
            self.fill()
        part, self.unread = self.unread.split(mark, 1)
        return part

    def exactly(self, length):
        while len(self.unread) < length:
            self.fill()
        part, self.unread = self.unread[:length], self.unread[length:]
        return part

    def rest(self):
        try:
            while True:
                self.fill()
        except Cut:
            part, self.unread = self.unread, b""
            return part

    def fields(self, lines):
        found = []
        for line in lines:
            name, value = line.split(b":", 1)
            found.append((name.decode("latin-1").lower(), value.strip()))
        return found

    def chunks(self):
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.exactly(size)
            assert self.until(b"\r\n") == b"", "a chunk longer than its size"
        lines = []
        while line := self.until(b"\r\n"):
            lines.append(line)
        return body, self.fields(lines)

    def message(self, is_request, method="GET"):
        """Start line, fields, body, trailers."""
        start, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        fields = self.fields(lines)
        known = dict(fields)
        status = 0 if is_request else int(start.split(b" ")[1])
        bodiless = status in (204, 304) or (not is_request and method == "HEAD")
        if bodiless:
            return start, fields, b"", []
        if "transfer-encoding" in known:
            return (start, fields, *self.chunks())
        if "content-length" in known:
            return start, fields, self.exactly(int(known["content-length"])), []
        return start, fields, b"" if is_request else self.rest(), []


class Origin:
    """Records what arrives and answers each request with `script`."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.script, self.seen = NO_CONTENT, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            stream = Stream(self.listener.accept()[0])
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        try:
            while True:
                request = stream.message(is_request=True)
                self.seen.append(request)
                stream.socket.sendall(self.script)
                if self.script is not NO_CONTENT:
                    stream.socket.shutdown(socket.SHUT_WR)
                    stream.rest()
                    break
        except Cut:
            pass
        stream.socket.close()

    def play(self, script):
        self.script, self.seen = script, []


def header(literal):
    """A Header as (name, value) pairs in the order of names."""
    if not isinstance(literal, Literal):
        return []
    return [(name.decode().lower(), value) for name, values in literal.fields.items()
            for value in values.items]


def compared(fields, with_length):
    kept = [(name, value) for name, value in fields if name not in HOP and name != "host"]
    kept = [pair for pair in kept if with_length or pair[0] != "content-length"]
    return sorted(kept)


def text(value):
    return value if isinstance(value, bytes) else b""


def evaluated(value):
    """`reqBytes` of the tables: a request with LF line ends."""
    if isinstance(value, Call) and value.name == "reqBytes":
        return value.arguments[0].strip().replace(b"\n", b"\r\n") + b"\r\n\r\n"
    return value


def exchange(address, raw, method="GET"):
    """Sends raw bytes; the gateway's reply, and whether anything is the gateway's own."""
    with socket.create_connection(address, timeout=60) as connection:
        stream = Stream(connection)
        try:
            connection.sendall(raw)
        except OSError:
            pass
        try:
            reply = stream.message(is_request=False, method=method)
            while 100 <= int(reply[0].split(b" ")[1]) < 200:
                reply = stream.message(is_request=False, method=method)
        except Cut as cut:
            return None, b"", str(cut)
        status = int(reply[0].split(b" ")[1])
        own = re.fullmatch(rb"%d [a-z0-9_]+\n" % status, reply[2]) is not None
        return reply, reply[2] if own else b"", ""


class Run:
    def __init__(self, address, origin):
        self.address, self.origin = address, origin
        self.passed, self.failed, self.open = 0, 0, 0

    def settle(self, name, raw, difference, refused):
        """Counts a case; a difference stands only where the gateway refused."""
        if difference is None:
            self.passed += 1
            return
        self.failed += 1
        reasons = [(section, why) for test, section, why in STANDS if test(raw)]
        if refused and reasons:
            section, why = reasons[0]
            print(f"stands: {name}: {why} ({section})")
        else:
            self.open += 1
            print(f"FAILED: {name}: {difference}\n  {raw[:200]!r}", file=sys.stderr)

    def refusal(self, reply):
        """Why this is no refusal; None when it is one and nothing was forwarded."""
        if self.origin.seen:
            return f"forwarded as {self.origin.seen}"
        if reply is None:
            return "closed without a word"
        status = int(reply[0].split(b" ")[1])
        return None if 400 <= status <= 505 else f"answered with {status}"

    def request(self, name, raw, expected):
        """`expected`: what the origin is to get, or None for a refusal, or a status."""
        self.origin.play(NO_CONTENT)
        method = raw.split(b" ")[0].decode("latin-1")
        reply, _, cut = exchange(self.address, raw, method)
        refused = self.refusal(reply) is None
        if expected is None:
            return self.settle(name, raw, self.refusal(reply), refused)
        if isinstance(expected, int):
            got = int(reply[0].split(b" ")[1]) if reply else 0
            # The origin's 204 stands for Go's empty 200.
            same = got == (204 if expected == 200 else expected)
            return self.settle(name, raw, None if same else f"{got} for {expected}", refused)
        if len(self.origin.seen) != 1:
            difference = f"{len(self.origin.seen)} requests were forwarded {cut}"
            return self.settle(name, raw, difference, refused)
        got = self.origin.seen[0]
        return self.settle(name, raw, self.differs(got, expected), refused)

    def differs(self, got, expected):
        start, fields, body, trailers = got
        want, want_fields, want_body, want_trailers = expected
        with_length = "content-length" in dict(want_fields)
        pairs = [
            (start, want),
            (compared(fields, with_length), compared(want_fields, with_length)),
            (body, want_body),
            (sorted(trailers), sorted(want_trailers)),
        ]
        wrong = [f"{got!r} instead of {want!r}" for got, want in pairs if got != want]
        host = dict(fields).get("host")
        want_host = dict(want_fields).get("host", host)
        if host != want_host:
            wrong.append(f"host {host!r} instead of {want_host!r}")
        return "; ".join(wrong) or None

    def reply(self, name, raw, method, expected):
        """`expected`: status, fields, body; or None for a 502; or True for any pass."""
        self.origin.play(raw)
        asked = f"{method} / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
        reply, own, cut = exchange(self.address, asked, method)
        status = int(reply[0].split(b" ")[1]) if reply else 0
        is_502 = status == 502 and (own.startswith(b"502 upstream_") or method == "HEAD")
        if expected is None:
            difference = None if is_502 else f"answered with {status} {cut}"
        elif expected is True:
            difference = None if reply and not is_502 else f"answered with {status} {cut}"
        elif reply is None or is_502:
            difference = f"answered with {status} {cut}"
        else:
            want_status, want_fields, want_body = expected
            start = b"HTTP/1.1 %d" % want_status
            got = (reply[0][: len(start)], reply[1], reply[2], [])
            difference = self.differs(got, (start, want_fields, want_body, []))
        self.settle(name, raw, difference, is_502)


def source(name):
    path = f"{SOURCES}/{name}"
    if not glob.glob(path):
        sys.exit(f"{path} is needed: apt-get install -y golang-1.19-src")
    with open(path, encoding="utf-8") as file:
        return file.read()


def requests(run):
    text_of = source("readrequest_test.go")
    for number, case in enumerate(table(text_of, "var reqTests", "reqTests")):
        raw, wanted, body, trailer, _ = case.items
        name = f"reqTests {number}"
        if not isinstance(wanted, Literal):
            run.request(name, raw, None)
            continue
        fields = wanted.fields
        target = fields["RequestURI"]
        if target.startswith(b"http://"):
            target = b"/" + target.split(b"/", 3)[3]
        start = b"%s %s HTTP/1.1" % (fields["Method"], target)
        pairs = header(fields["Header"]) + [("host", text(fields.get("Host")))]
        run.request(name, raw, (start, pairs, text(body), header(trailer)))
    for case in table(text_of, "var badRequestTests", "badRequestTests"):
        name, raw = case.items
        run.request(name.decode(), evaluated(raw), None)


def servers(run):
    text_of = source("serve_test.go")
    for number, case in enumerate(table(text_of, "func TestServerValidatesHostHeader", "tests")):
        proto, host, status = case.items
        start = proto if not proto.startswith(b"HTTP/") else b"GET / " + proto
        raw = start + b"\r\n" + host + b"\r\n"
        run.request(f"TestServerValidatesHostHeader {number}", raw, status)
    for number, case in enumerate(table(text_of, "func TestServerValidatesHeaders", "tests")):
        line, status = case.items
        raw = b"GET / HTTP/1.1\r\nHost: foo\r\n" + line + b"\r\n"
        run.request(f"TestServerValidatesHeaders {number}", raw, status)


def transfers(run):
    text_of = source("transfer_test.go")
    post = b"POST / HTTP/1.1\r\nHost: test\r\n"
    for number, case in enumerate(table(text_of, "func TestParseTransferEncoding", "tests")):
        pairs = header(case.fields["hdr"])
        lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in pairs)
        refused = case.fields["wantErr"] != "nil"
        expected = None if refused else (b"POST / HTTP/1.1", [], b"abc", [])
        raw = post + lines + b"\r\n3\r\nabc\r\n0\r\n\r\n"
        run.request(f"TestParseTransferEncoding {number}", raw, expected)
    for number, case in enumerate(table(text_of, "func TestParseContentLength", "tests")):
        length, refused = case.fields["cl"], case.fields["wantErr"] != "nil"
        name = f"TestParseContentLength {number}"
        if refused:
            run.request(name, post + b"Content-Length: " + length + b"\r\n\r\nabc", None)
        # A length is the same in a reply, and to HEAD none of it need follow.
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"
        expected = None if refused else (200, [("content-length", length)], b"")
        run.reply(name, reply, "HEAD", expected)


def replies(run):
    text_of = source("response_test.go")
    for number, case in enumerate(table(text_of, "var respTests", "respTests")):
        raw, wanted, body = case.items
        asked = wanted.fields.get("Request")
        method = asked.arguments[0].decode() if isinstance(asked, Call) else "GET"
        expected = (wanted.fields["StatusCode"], header(wanted.fields["Header"]), body)
        run.reply(f"respTests {number}", raw, method, expected)
    for number, case in enumerate(table(text_of, "func TestReadResponseErrors", "tests")):
        raw, error = reply_case(case)
        passes = isinstance(error, Name) and error == "nil"
        run.reply(f"TestReadResponseErrors {number}", raw, "GET", True if passes else None)


def reply_case(case):
    """The raw reply and the error of an element, which may be a call of the test's own."""
    if isinstance(case, Literal):
        return case.items[1], case.items[2]
    first, *rest = case.arguments
    if case.name == "status":
        return b"HTTP/1.1 " + first + b"\r\nFoo: bar\r\n\r\n", rest[0]
    if case.name == "version":
        return first + b" 200 OK\r\n\r\n", rest[0]
    return b"HTTP/1.1 " + first + b"\r\n" + rest[0], rest[1]


def main(host, port, origin_port):
    run = Run((host, int(port)), Origin(int(origin_port)))
    for part in (requests, servers, transfers, replies):
        part(run)
    count = run.passed + run.failed
    if count < CASES_MIN:
        due = f"at least {CASES_MIN} are due"
        print(f"FAILED: only {count} cases were found, {due}", file=sys.stderr)
        run.failed, run.open = run.failed + 1, run.open + 1
    print(f"{run.passed} passed, {run.failed} failed")
    sys.exit(1 if run.open else 0)


main(*sys.argv[1:4])
