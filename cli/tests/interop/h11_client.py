"""An h11 client against the gateway: python3 h11_client.py HOST PORT.

h11 checks every byte of a reply against the protocol, and knows which state a connection is in. In
front of server.mjs; exits with a traceback on the first surprise.
"""

import hashlib
import json
import socket
import sys

import h11


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=60)
        self.wire = h11.Connection(h11.CLIENT)

    def send(self, event):
        data = self.wire.send(event)
        if data:
            self.socket.sendall(data)

    def request(self, method, target, headers, pieces=()):
        fields = [("Host", "test"), *headers]
        self.send(h11.Request(method=method, target=target, headers=fields))
        for piece in pieces:
            self.send(h11.Data(data=piece))
        self.send(h11.EndOfMessage())
        return self.reply()

    def reply(self):
        body, status, informational = b"", None, []
        while True:
            event = self.wire.next_event()
            if event is h11.NEED_DATA:
                self.wire.receive_data(self.socket.recv(65536))
            elif isinstance(event, h11.InformationalResponse):
                informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, informational, body
            else:
                raise AssertionError(event)


def main(host, port):
    client = Client(host, port)
    payload = bytes(range(256)) * 1000
    digest = hashlib.sha256(payload).hexdigest()
    for _ in range(50):
        status, _, body = client.request("GET", "/bytes?n=1000", [])
        assert (status, len(body)) == (200, 1000), (status, len(body))
        client.wire.start_next_cycle()

    pieces = [payload[at : at + 777] for at in range(0, len(payload), 777)]
    for framing in (("Content-Length", str(len(payload))), ("Transfer-Encoding", "chunked")):
        status, _, body = client.request("POST", "/echo", [framing], pieces)
        seen = json.loads(body)
        assert (status, seen["length"], seen["sha256"]) == (200, len(payload), digest), seen
        client.wire.start_next_cycle()

    status, _, body = client.request("HEAD", "/bytes?n=1000", [])
    assert (status, body) == (200, b""), (status, body)
    client.wire.start_next_cycle()

    status, _, _ = client.request("GET", "/last", [("Connection", "close")])
    assert status == 200
    assert client.socket.recv(1) == b"", "the gateway did not close"
    print("h11: 54 requests on one connection")


main(sys.argv[1], int(sys.argv[2]))
