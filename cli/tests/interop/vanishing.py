"""A peer that will vanish: it does one thing, says so, and holds its connection.

vanishing.py client HOST PORT: one GET, its whole reply, then silence.
vanishing.py server HOST PORT: answers one request with half of a reply, then silence.
vanishing.py reader HOST PORT: asks for a large body, never reads it.

It ends when its standard input does.
"""

import socket
import sys

kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


def say(word):
    print(word, flush=True)


def read_head(stream):
    seen = b""
    while b"\r\n\r\n" not in seen:
        piece = stream.recv(65536)
        assert piece, "the other side closed"
        seen += piece
    return seen


if kind == "server":
    listener = socket.create_server((host, port))
    say("listening")
    stream, _ = listener.accept()
    read_head(stream)
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    say("half")
elif kind == "client":
    stream = socket.create_connection((host, port))
    stream.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    head, body = read_head(stream).split(b"\r\n\r\n", 1)
    while len(body) < 100:
        body += stream.recv(65536)
    say("idle")
else:
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect((host, port))
    stream.sendall(b"GET /?bytes=1000000000 HTTP/1.1\r\nHost: test\r\n\r\n")
    stream.recv(1)
    say("reading")

sys.stdin.read()
