"""Python's http.client against the gateway: python3 http_client.py HOST PORT.

In front of server.mjs. One connection for everything; exits with a traceback on the first surprise.
"""

import hashlib
import http.client
import json
import sys


def echo(connection, method, target, body=None, headers=None, chunked=False):
    connection.request(method, target, body, headers or {}, encode_chunked=chunked)
    reply = connection.getresponse()
    assert reply.status == 200, (method, target, reply.status)
    text = reply.read()
    return json.loads(text) if text else None


def main(host, port):
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.connect()
    socket = connection.sock
    body = bytes(range(256)) * 4096
    digest = hashlib.sha256(body).hexdigest()

    seen = echo(connection, "GET", "/plain?x=1")
    assert (seen["method"], seen["url"], seen["length"]) == ("GET", "/plain?x=1", 0), seen
    assert echo(connection, "HEAD", "/head") is None

    seen = echo(connection, "POST", "/length", body)
    assert (seen["length"], seen["sha256"]) == (len(body), digest), seen

    pieces = (body[at : at + 9999] for at in range(0, len(body), 9999))
    fields = {"Transfer-Encoding": "chunked"}
    seen = echo(connection, "PUT", "/chunks", pieces, fields, chunked=True)
    assert (seen["method"], seen["length"], seen["sha256"]) == ("PUT", len(body), digest), seen

    for query in ("n=5000000", "n=5000000&chunked=1"):
        connection.request("GET", "/bytes?" + query)
        reply = connection.getresponse()
        data = reply.read()
        assert data == b"ringway." * 625000, (query, len(data))
    assert connection.sock is socket, "the connection was not kept"
    print("http.client: 6 requests on one connection")


main(sys.argv[1], int(sys.argv[2]))
