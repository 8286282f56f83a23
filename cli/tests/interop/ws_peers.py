"""WebSocket endpoints in one shape: what the cases need of `websockets` and of `wsproto`.

Each library plays both roles with its own handshake, framing and compression; only the sockets
below `wsproto`, which has none, are ours. `connect` and `serve` give `Endpoint`s.
"""

import asyncio
import socket
import struct

from websockets.asyncio import client as websockets_client
from websockets.asyncio import server as websockets_server
from websockets.exceptions import InvalidStatus
from wsproto import ConnectionType, WSConnection, events
from wsproto.connection import ConnectionState
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

ABNORMAL, NO_CODE = 1006, 1005
REFUSAL = "no entry\n"
SUBPROTOCOL = "second"
# No limits and no pings of the libraries' own: what happens is what a case does.
WEBSOCKETS_OPTIONS = {"max_size": None, "max_queue": None, "ping_interval": None}
# The event loop holds its tasks weakly.
RUNNING = set()


class Refused(Exception):
    """The handshake was answered with another status."""


def frame(opcode, payload, masked, fin=True):
    """A frame of up to 125 bytes, unchecked; the mask of zeros leaves the payload as it is."""
    start = bytes([(0x80 if fin else 0) | opcode, (0x80 if masked else 0) | len(payload)])
    return start + (bytes(4) if masked else b"") + payload


class Endpoint:
    """One side of an open connection. `closed` waits for its end: the code and reason seen."""

    is_client = False
    bytes_in = 0

    async def exchange(self, other, message):
        """`other` gets the message as it was sent, and of its type."""
        await self.send(message)
        got = await other.receive()
        assert type(got) is type(message), f"{type(got)} instead of {type(message)}"
        assert got == message, f"{len(got)} other bytes instead of {len(message)}"

    def raw_frame(self, opcode, payload, fin=True):
        """Writes a frame past the library, which would not send it."""
        self.transport().write(frame(opcode, payload, self.is_client, fin))

    def cut(self, reset):
        """Ends the TCP connection without a close frame, by FIN or by RST."""
        transport = self.transport()
        if reset:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        transport.abort()


class Websockets(Endpoint):
    def __init__(self, wire, is_client):
        self.wire, self.is_client = wire, is_client
        self.subprotocol = wire.subprotocol
        receive_data = wire.protocol.receive_data

        def counted(data):
            self.bytes_in += len(data)
            receive_data(data)

        wire.protocol.receive_data = counted

    def transport(self):
        return self.wire.transport

    def deflates(self):
        return len(self.wire.protocol.extensions) > 0

    async def send(self, message):
        await self.wire.send(message)

    async def send_pieces(self, pieces, pings):
        async def paced():
            for number, piece in enumerate(pieces):
                yield piece
                if pings:
                    await self.ping(b"inside %d" % number)

        await self.wire.send(paced())

    async def receive(self):
        return await self.wire.recv()

    async def ping(self, payload):
        await (await self.wire.ping(payload))

    async def pong(self, payload):
        await self.wire.pong(payload)

    async def close(self, code, reason):
        if code == NO_CODE:
            async with self.wire.send_context():
                self.wire.protocol.send_close()
        else:
            await self.wire.close(code, reason)

    async def closed(self):
        await self.wire.wait_closed()
        return self.wire.close_code, self.wire.close_reason


class Wsproto(Endpoint):
    def __init__(self, reader, writer, is_client, arrived=None):
        role = ConnectionType.CLIENT if is_client else ConnectionType.SERVER
        self.wire, self.deflate = WSConnection(role), PerMessageDeflate()
        self.reader, self.writer, self.is_client = reader, writer, is_client
        self.arrived, self.subprotocol, self.refusal = arrived, None, b""
        self.opened = asyncio.get_running_loop().create_future()
        self.messages, self.parts, self.pongs = asyncio.Queue(), [], {}
        self.result, self.has_failed = (ABNORMAL, ""), False
        self.running = asyncio.create_task(self.run())
        RUNNING.add(self.running)
        self.running.add_done_callback(RUNNING.discard)

    def transport(self):
        return self.writer.transport

    def deflates(self):
        return self.deflate.enabled()

    async def run(self):
        try:
            while data := await self.reader.read(64 * 1024):
                self.bytes_in += len(data)
                self.take(data)
        except OSError:
            pass
        finally:
            self.writer.close()
            self.messages.put_nowait(None)
            for waiting in self.pongs.values():
                waiting.set_exception(ConnectionError("closed before the pong"))
            if self.is_client and not self.opened.done():
                self.opened.set_exception(ConnectionError("closed in the handshake"))

    def take(self, data):
        if self.has_failed:
            return
        try:
            self.wire.receive_data(data)
        except RemoteProtocolError as error:
            # No handshake: the library says what to answer.
            self.write(error.event_hint)
            return self.writer.close()
        for event in self.wire.events():
            self.handle(event)

    def handle(self, event):
        if isinstance(event, events.Message):
            self.parts.append(event.data)
            if event.message_finished:
                self.messages.put_nowait(type(event.data)().join(self.parts))
                self.parts = []
        elif isinstance(event, events.Ping):
            self.write(event.response())
        elif isinstance(event, events.Pong):
            waiting = self.pongs.pop(bytes(event.payload), None)
            if waiting:
                waiting.set_result(None)
        elif isinstance(event, events.CloseConnection):
            self.ending(event)
        else:
            self.handshake(event)

    def ending(self, event):
        self.result = int(event.code), event.reason or ""
        # RFC 6455 section 7.1.7: what could not be read ends the connection, and nothing behind
        # it is looked at.
        self.has_failed = self.wire.state is ConnectionState.OPEN
        if self.wire.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self.write(event.response())
        if self.has_failed:
            self.writer.write_eof()
        # RFC 6455 section 7.1.1: the server closes first.
        if self.wire.state is ConnectionState.CLOSED and not self.is_client:
            self.writer.close()

    def handshake(self, event):
        if isinstance(event, events.Request) and event.target.endswith("/refuse"):
            fields = [(b"content-length", b"%d" % len(REFUSAL))]
            self.write(events.RejectConnection(status_code=403, has_body=True, headers=fields))
            self.write(events.RejectData(data=REFUSAL.encode()))
            self.writer.close()
        elif isinstance(event, events.Request):
            self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in event.subprotocols else None
            accept = events.AcceptConnection(
                subprotocol=self.subprotocol, extensions=[self.deflate]
            )
            self.write(accept)
            self.arrived(event.target, self)
        elif isinstance(event, events.AcceptConnection):
            self.subprotocol = event.subprotocol
            self.opened.set_result(None)
        elif isinstance(event, events.RejectConnection):
            self.status = event.status_code
        elif isinstance(event, events.RejectData):
            self.refusal += event.data
        rejected = isinstance(event, events.RejectConnection) and not event.has_body
        if rejected or (isinstance(event, events.RejectData) and event.body_finished):
            self.opened.set_exception(Refused(self.status, self.refusal.decode()))

    def write(self, event):
        self.writer.write(self.wire.send(event))

    async def send(self, message):
        await self.send_pieces([message], pings=False)

    async def send_pieces(self, pieces, pings):
        for number, piece in enumerate(pieces):
            kind = events.TextMessage if isinstance(piece, str) else events.BytesMessage
            is_last = number + 1 == len(pieces)
            self.write(kind(data=piece, message_finished=is_last))
            await self.writer.drain()
            if pings and not is_last:
                await self.ping(b"inside %d" % number)

    async def receive(self):
        message = await self.messages.get()
        assert message is not None, f"closed: {self.result}"
        return message

    async def ping(self, payload):
        self.write(events.Ping(payload=payload))
        self.pongs[payload] = asyncio.get_running_loop().create_future()
        await self.pongs[payload]

    async def pong(self, payload):
        self.write(events.Pong(payload=payload))

    async def close(self, code, reason):
        code = CloseReason.NO_STATUS_RCVD if code == NO_CODE else code
        self.write(events.CloseConnection(code=code, reason=reason or None))
        await self.running

    async def closed(self):
        await self.running
        return self.result


async def connect(kind, address, path, deflate=False):
    """An open client; raises Refused, with status and body, when the handshake was."""
    host, port = address
    subprotocols = ["first", SUBPROTOCOL]
    if kind == "websockets":
        compression = "deflate" if deflate else None
        try:
            wire = await websockets_client.connect(
                f"ws://{host}:{port}{path}", compression=compression, proxy=None,
                subprotocols=subprotocols, open_timeout=None, **WEBSOCKETS_OPTIONS,
            )
        except InvalidStatus as error:
            response = error.response
            raise Refused(response.status_code, (response.body or b"").decode()) from error
        return Websockets(wire, is_client=True)
    endpoint = Wsproto(*await asyncio.open_connection(host, port), is_client=True)
    request = events.Request(
        host=f"{host}:{port}", target=path, subprotocols=subprotocols,
        extensions=[endpoint.deflate] if deflate else [],
    )
    endpoint.write(request)
    await endpoint.opened
    return endpoint


async def serve(kind, port, arrived):
    """Accepts everything but paths that end in `/refuse`; `arrived` gets path and endpoint."""
    if kind == "wsproto":
        def accept(reader, writer):
            Wsproto(reader, writer, is_client=False, arrived=arrived)

        return await asyncio.start_server(accept, "127.0.0.1", port, backlog=1024)

    async def handle(wire):
        arrived(wire.request.path, Websockets(wire, is_client=False))
        await wire.wait_closed()

    def judge(connection, request):
        return connection.respond(403, REFUSAL) if request.path.endswith("/refuse") else None

    return await websockets_server.serve(
        handle, "127.0.0.1", port, process_request=judge, subprotocols=[SUBPROTOCOL],
        open_timeout=None, backlog=1024, **WEBSOCKETS_OPTIONS,
    )
