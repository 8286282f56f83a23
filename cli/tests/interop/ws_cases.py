"""WebSocket through the gateway: python3 ws_cases.py ADDRESS IDLE_ADDRESS PORT PORT.

Clients and servers of `websockets` and of `wsproto` in every pairing; both ends of each connection
are in this process, so what one does is checked on the other, in both directions. The gateway at
ADDRESS upgrades `/websockets/*` to the first port and `/wsproto/*` to the second, and takes
`/plain/websockets/*` and `/plain/wsproto/*` there without upgrading. The one at IDLE_ADDRESS does
the same with a short tunnel idle limit.

Ends with `N passed, M failed`. A failure stands when STANDS gives its reason and the case fails
without a gateway between the two as well. Exits with 1 when a failure does not stand, or when a
reason is given for what passes.
"""

import asyncio
import itertools
import random
import sys
import traceback

from ws_peers import ABNORMAL, NO_CODE, REFUSAL, SUBPROTOCOL, Refused, connect, serve

KINDS = "websockets", "wsproto"
# Ends a case that would hang; no case depends on its length.
HANG_SECONDS = 120
CROWD = 200
LARGE = 16 * 1024 * 1024
TEXT, CONTINUATION = 1, 0
# Faults of the libraries: case, kind of the far end, what is wrong.
STANDS = {
    ("control_frames_between_deflated_fragments", "wsproto"):
        "wsproto 1.3.2 forgets at a control frame that the message around it is compressed",
}


async def text_and_binary(pair):
    near, far = await pair()
    for message in ("", "plain", "h\u00e9llo \u20ac \U0001f600 \0 \r\n", b"", bytes(range(256))):
        await near.exchange(far, message)
        await far.exchange(near, message)


async def lengths_at_the_edges_of_their_encoding(pair):
    near, far = await pair()
    for length in (125, 126, 127, 65535, 65536, 65537):
        await near.exchange(far, random.randbytes(length))
        await near.exchange(far, "\u20ac" * (length // 3))


async def messages_in_fragments(pair):
    near, far = await pair()
    for pieces in (["a", "", "b\u20ac"], [b"\0" * 70000, b"", b"x"], [b"", b""], ["x"] * 300):
        await near.send_pieces(pieces, pings=False)
        assert await far.receive() == type(pieces[0])().join(pieces)


async def control_frames_between_fragments(pair):
    await interleaved(*await pair())


async def control_frames_between_deflated_fragments(pair):
    await interleaved(*await pair(deflate=True))


async def interleaved(near, far):
    pieces = [str(number) * 1000 for number in range(10)]
    # Each ping is answered before the next fragment leaves.
    await near.send_pieces(pieces, pings=True)
    await far.ping(b"outside")
    assert await far.receive() == "".join(pieces)


async def pings_and_pongs(pair):
    near, far = await pair()
    for payload in (b"", b"ping", random.randbytes(125)):
        await near.ping(payload)
    await asyncio.gather(*(near.ping(b"%d" % number) for number in range(50)))
    await near.pong(b"nobody asked")
    await near.exchange(far, "still there")


async def bad_utf8_is_closed_with_1007(pair):
    for pieces in ([b"\xff"], [b"ok \xed\xa0\x80"], [b"\xe2\x82", b""], [b"\xe2\x82", b"x"]):
        near, far = await pair()
        for number, piece in enumerate(pieces):
            is_last = number + 1 == len(pieces)
            near.raw_frame(TEXT if number == 0 else CONTINUATION, piece, is_last)
        # `websockets` decodes when it is asked for the message.
        got = await asyncio.gather(far.receive(), return_exceptions=True)
        assert isinstance(got[0], Exception), got
        assert (await near.closed())[0] == 1007, (pieces, await near.closed())
        await far.closed()


async def close_codes(pair):
    for code in (1000, 1001, 1011, 4000, 4999):
        near, far = await pair()
        await near.exchange(far, "before")
        reason = f"reason {code} \u20ac"
        await near.close(code, reason)
        assert await far.closed() == (code, reason), await far.closed()
        assert (await near.closed())[0] == code, await near.closed()


async def a_close_without_a_code(pair):
    near, far = await pair()
    await near.close(NO_CODE, "")
    assert await far.closed() == (NO_CODE, ""), await far.closed()


async def a_close_behind_a_message(pair):
    near, far = await pair()
    last = random.randbytes(300_000)
    await near.send(last)
    closing = asyncio.create_task(near.close(1000, "done"))
    assert await far.receive() == last
    await closing
    assert await far.closed() == (1000, "done")


async def large_messages_both_ways_at_once(pair):
    near, far = await pair()
    there, back = random.randbytes(LARGE), random.randbytes(LARGE)
    await asyncio.gather(near.exchange(far, there), far.exchange(near, back))


async def deflate_is_agreed_and_used(pair):
    near, far = await pair(deflate=True)
    assert near.deflates() and far.deflates()
    text = "a line that comes again and again, \u20ac\n" * 30_000
    for message in (text, text.encode(), "", text[:100]):
        before = far.bytes_in
        await near.exchange(far, message)
        assert far.bytes_in - before <= 200 + len(message) // 20, far.bytes_in - before
    noise = random.randbytes(500_000)
    await near.exchange(far, noise)
    await far.exchange(near, noise)


async def deflate_is_not_made_up(pair):
    near, far = await pair(deflate=False)
    assert not near.deflates() and not far.deflates()
    before = far.bytes_in
    await near.exchange(far, "a" * 10_000)
    assert far.bytes_in - before >= 10_000


async def a_cut_is_an_abnormal_closure(pair):
    for reset, part in itertools.product((False, True), (b"", b"half")):
        near, far = await pair()
        await near.exchange(far, "whole")
        if part:
            near.raw_frame(TEXT, part, fin=False)
            await near.ping(b"arrived")
        near.cut(reset)
        code, _ = await far.closed()
        assert code == ABNORMAL, (reset, part, code)


async def a_subprotocol_is_agreed(pair):
    near, far = await pair()
    assert near.subprotocol == far.subprotocol == SUBPROTOCOL


async def a_crowd(pair):
    pairs = await asyncio.gather(*(pair() for _ in range(CROWD)))

    async def talk(number, near, far):
        for turn in range(10):
            await near.exchange(far, f"{number} {turn} " + "x" * random.randrange(5000))
            await far.exchange(near, f"{turn} {number}".encode())

    await asyncio.gather(*(talk(number, *ends) for number, ends in enumerate(pairs)))

    async def part(number, near, far):
        code = 4000 + number
        await near.close(code, "")
        assert (await far.closed())[0] == code

    await asyncio.gather(*(part(number, *ends) for number, ends in enumerate(pairs)))


async def silence_ends_a_socket_and_pings_keep_one(pair):
    silent, busy = await pair(idle=True), await pair(idle=True)
    await silent[0].exchange(silent[1], "x")
    ends = asyncio.gather(silent[0].closed(), silent[1].closed())
    while not ends.done():
        await busy[0].ping(b"alive")
        await asyncio.wait([ends], timeout=0.05)
    codes = [code for code, _ in await ends]
    assert codes == [ABNORMAL, ABNORMAL], codes
    await busy[1].exchange(busy[0], "still there")


async def refusals(lab, client, server):
    try:
        await connect(client, lab.address, f"/{server}/refuse")
    except Refused as refused:
        assert refused.args == (403, REFUSAL), refused.args
    else:
        raise AssertionError("the refusal was not seen")


async def routes_that_do_not_upgrade(lab, client, server):
    try:
        await connect(client, lab.address, f"/plain/{server}/x")
    except Refused as refused:
        assert 400 <= refused.args[0] <= 426, refused.args
    else:
        raise AssertionError("an upgrade that the route does not allow")


BOTH_DIRECTIONS = [
    text_and_binary, lengths_at_the_edges_of_their_encoding, messages_in_fragments,
    control_frames_between_fragments, control_frames_between_deflated_fragments,
    pings_and_pongs, bad_utf8_is_closed_with_1007, close_codes,
    a_close_without_a_code, a_close_behind_a_message, deflate_is_agreed_and_used,
    deflate_is_not_made_up, a_cut_is_an_abnormal_closure,
]
ONE_DIRECTION = [
    large_messages_both_ways_at_once, a_subprotocol_is_agreed, a_crowd,
    silence_ends_a_socket_and_pings_keep_one,
]
HANDSHAKES = [refusals, routes_that_do_not_upgrade]


class Lab:
    def __init__(self, address, idle_address, ports):
        self.address, self.idle_address, self.ports = address, idle_address, ports
        self.arrivals, self.number = {}, 0
        self.passed, self.failed, self.open = 0, 0, 0

    def arrived(self, path, endpoint):
        self.arrivals.pop(path).set_result(endpoint)

    def pairing(self, client, server, is_swapped, is_direct=False):
        """What gives a case its connections: the near end first."""

        async def pair(deflate=False, idle=False):
            self.number += 1
            path = f"/{server}/{self.number}"
            arrival = self.arrivals[path] = asyncio.get_running_loop().create_future()
            address = self.idle_address if idle else self.address
            if is_direct:
                address = "127.0.0.1", self.ports[server]
            ends = await connect(client, address, path, deflate), await arrival
            return ends[::-1] if is_swapped else ends

        return pair

    async def directed(self, case, client, server, is_swapped=False):
        name = f"{case.__name__}: {client} to {server}{', back' if is_swapped else ''}"
        reason = STANDS.get((case.__name__, client if is_swapped else server))
        failure = await fails(case(self.pairing(client, server, is_swapped)))
        if failure and reason:
            direct = case(self.pairing(client, server, is_swapped, is_direct=True))
            if await fails(direct):
                self.failed += 1
                return print(f"stands: {name}: {reason}")
        if reason and not failure:
            failure = "it passes, although a reason is given for its failure"
        self.settle(name, failure)

    def settle(self, name, failure):
        if failure is None:
            self.passed += 1
            return
        self.failed, self.open = self.failed + 1, self.open + 1
        print(f"FAILED: {name}: {failure}", file=sys.stderr)

    async def run(self):
        for client, server in itertools.product(KINDS, KINDS):
            for case in BOTH_DIRECTIONS:
                await self.directed(case, client, server)
                await self.directed(case, client, server, is_swapped=True)
            for case in ONE_DIRECTION:
                await self.directed(case, client, server)
            for case in HANDSHAKES:
                failure = await fails(case(self, client, server))
                self.settle(f"{case.__name__}: {client} to {server}", failure)


async def fails(case):
    """What went wrong in a case; None when nothing did."""
    try:
        await asyncio.wait_for(case, HANG_SECONDS)
    except Exception:
        return traceback.format_exc()


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


async def main(address, idle_address, *ports):
    lab = Lab(split(address), split(idle_address), dict(zip(KINDS, map(int, ports))))
    servers = [await serve(kind, port, lab.arrived) for kind, port in lab.ports.items()]
    await lab.run()
    print(f"{lab.passed} passed, {lab.failed} failed")
    del servers
    sys.exit(1 if lab.open else 0)


asyncio.run(main(*sys.argv[1:]))
