"""Connections that violate HTTP/2 or gRPC affect neither other clients nor the server's resources."""

import collections
import itertools
import os
import random
import struct
import threading
import time
import zlib
from functools import cache

import pytest
from unrolled.v1 import forward_pb2 as pb

from tests.fault_injection import extent
from tests.fault_injection import http2 as h
from tests.fault_injection.server_process import GoodClient, ServerProcess

pytestmark = pytest.mark.faults

MAX_GOOD_S = 5.0
PATIENCE_S = 0.1
# Log lines of failing handlers. For metadata that is not UTF-8 gRPC logs a traceback and continues.
SIGNS_OF_FAILURE = ("never retrieved", "a request failed", "raised by servicer method", "Exception ignored")
FLOOD = 4_000 if extent.IS_LONG else 200
LESSON = pb.ForwardRequest(words=["hello", "eolll", "lleel"], hidden_size=2).SerializeToString()
START = h.PREFACE + h.settings()


def stream_numbers(count):
    return range(1, 2 * count, 2)


def settings_flood(chance):
    values = [
        (chance.choice((h.MAX_STREAMS, h.INITIAL_WINDOW, h.MAX_HEADERS, 0x99)), chance.randrange(1 << 16))
    ]
    return START + h.settings(values) * FLOOD


def rapid_reset(chance):
    error = struct.pack(">I", chance.randrange(14))
    return START + b"".join(
        h.call(LESSON, stream=at) + h.frame(h.RST_STREAM, stream=at, payload=error)
        for at in stream_numbers(FLOOD)
    )


def endless_continuation(_chance):
    piece = h.field("x-more", b"y" * 1_000)
    return START + h.headers(h.block(), flags=0) + h.frame(h.CONTINUATION, stream=1, payload=piece) * FLOOD


@cache
def compressed(kind, size):
    """Returns a call with a compressed message of zeros."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 31 if kind == "gzip" else 15)
    body = b"".join([packed.compress(bytes(1 << 20)) for _ in range(size >> 20)]) + packed.flush()
    pieces = [h.message(body, flag=1)[at : at + 16_384] for at in range(0, len(body) + 5, 16_384)]
    sent = b"".join(h.data(piece, flags=0) for piece in pieces) + h.data(b"")
    return START + h.headers(h.block(grpc_encoding=kind)) + sent


def mutated_conversation(chance):
    """Returns a valid conversation with some bytes changed, removed or repeated."""
    said = bytearray(START + h.call(LESSON) + h.call(LESSON, stream=3) + h.frame(h.PING, payload=bytes(8)))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(said))
        kind = chance.randrange(4)
        if kind == 0:
            said[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del said[at : at + chance.randint(1, 20)]
        elif kind == 2:
            said[at:at] = said[chance.randrange(len(said)) :][:40]
        else:
            said[at:at] = chance.randbytes(chance.randint(1, 9))
    return bytes(said)


def mutated_headers(chance):
    """Returns headers of invalid or random HPACK."""
    blocks = (
        chance.randbytes(chance.randint(1, 60)),
        b"\x3f\xff\xff\xff\xff\x0f" + h.block(),  # a table size beyond every limit
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # an index out of range
        b"\x80",
        h.block(more=b"\x00\x8a" + chance.randbytes(10) + b"\x01a"),  # invalid Huffman code
        h.block(
            more=h.field("grpc-timeout", chance.choice(("0n", "99999999H", "abc", "", "-1S", "123456789S")))
        ),
        h.block(more=h.field("x-bin", b"\xff\xfe")),
        h.block(more=h.field("unrolled-bin", b"!!!!")),
        h.block(more=h.field("Upper", "x") + h.field(":late", "x")),
        h.block(more=h.field("grpc-encoding", "br")),
    )
    return START + h.headers(chance.choice(blocks)) + h.data(h.message(LESSON[:-1]))


SILENCED = {
    # None of these contains a valid message, so none may be answered.
    "another preface": lambda _: b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + h.settings() + h.call(LESSON),
    "no preface": lambda _: h.settings() + h.call(LESSON),
    "HTTP/1": lambda _: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": lambda _: bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "random bytes": lambda chance: chance.randbytes(300),
    "random bytes after the preface": lambda chance: h.PREFACE + chance.randbytes(300),
    "half a preface": lambda chance: h.PREFACE[: chance.randrange(24)],
    "SETTINGS of five bytes": lambda _: h.PREFACE + h.frame(h.SETTINGS, payload=bytes(5)),
    "SETTINGS on a stream": lambda _: START + h.frame(h.SETTINGS, stream=1, payload=bytes(6)),
    "a window beyond 31 bits": lambda _: h.PREFACE + h.settings([(h.INITIAL_WINDOW, 1 << 31)]),
    "a frame size beyond 24 bits": lambda _: h.PREFACE + h.settings([(h.MAX_FRAME, 1 << 31)]),
    "PING of seven bytes": lambda _: START + h.frame(h.PING, payload=bytes(7)),
    "RST_STREAM of three bytes": lambda _: START + h.frame(h.RST_STREAM, stream=1, payload=bytes(3)),
    "RST_STREAM of an idle stream": lambda _: START + h.frame(h.RST_STREAM, stream=7, payload=bytes(4)),
    "GOAWAY cut short": lambda _: START + h.frame(h.GOAWAY, payload=bytes(4)),
    "PUSH_PROMISE": lambda _: (
        START + h.frame(h.PUSH_PROMISE, stream=1, flags=4, payload=bytes(4) + h.block())
    ),
    "a window update of zero": lambda _: START + h.window_update(0),
    "a window that overflows": lambda _: START + h.window_update((1 << 31) - 1) * 2,
    "a stream's window that overflows": lambda _: (
        START + h.headers(h.block()) + h.window_update((1 << 31) - 1, stream=1) * 2
    ),
    "a frame of 16 MiB": lambda _: START + h.frame(h.DATA, stream=1, size=(1 << 24) - 1, payload=bytes(500)),
    "a frame that ends early": lambda _: (
        START + h.frame(h.HEADERS, stream=1, flags=4, size=900, payload=h.block())
    ),
    "a padding longer than its frame": lambda _: (
        START + h.headers(b"\xff" + h.block(), flags=h.END_HEADERS | h.PADDED)
    ),
    "DATA on an idle stream": lambda _: START + h.data(h.message(LESSON)),
    "DATA on stream 0": lambda _: START + h.data(h.message(LESSON), stream=0),
    "HEADERS on stream 0": lambda _: START + h.headers(h.block(), stream=0),
    "HEADERS on an even stream": lambda _: START + h.call(LESSON, stream=2),
    "CONTINUATION without HEADERS": lambda _: START + h.frame(h.CONTINUATION, stream=1, payload=h.block()),
    "frames between HEADERS and CONTINUATION": lambda _: (
        START
        + h.headers(h.block(), flags=0)
        + h.frame(h.PING, payload=bytes(8))
        + h.frame(h.CONTINUATION, stream=1, flags=4)
    ),
    "endless CONTINUATION": endless_continuation,
    "empty headers": lambda _: START + h.headers(b"") + h.data(h.message(LESSON)),
    "no path": lambda _: START + h.call(LESSON, path=None),
    "another path": lambda _: START + h.call(LESSON, path="/unrolled.v1.ForwardService/Backward"),
    "a path of 16 kB": lambda _: START + h.headers(h.block(path="/" + "x" * 16_000)),
    "a path that is not UTF-8": lambda _: START + h.call(LESSON, path=b"/unrolled.v1.ForwardService/\xc6"),
    "metadata that is not UTF-8": lambda _: START + h.headers(h.block(path="/x", more=h.field("x", b"\xff"))),
    "GET": lambda _: START + h.call(LESSON, __method="GET"),
    "no method": lambda _: START + h.call(LESSON, __method=None),
    "a message cut short": lambda _: START + h.headers(h.block()) + h.data(h.message(LESSON, size=1_000)),
    "half a message": lambda _: START + h.headers(h.block()) + h.data(h.message(LESSON, size=1_000), flags=0),
    "a prefix cut short": lambda _: START + h.headers(h.block()) + h.data(b"\0\0\0"),
    "a message of 4 GiB": lambda _: (
        START + h.headers(h.block()) + h.data(h.message(LESSON, size=(1 << 32) - 1), flags=0)
    ),
    "a message beyond the limit": lambda _: (
        START + h.headers(h.block()) + h.data(h.message(LESSON, size=(32 << 20) + 1), flags=0)
    ),
    "no message": lambda _: START + h.headers(h.block()) + h.data(b""),
    "no message at all": lambda _: START + h.headers(h.block(), flags=h.END_HEADERS | h.END_STREAM),
    "a message of another flag": lambda _: START + h.headers(h.block()) + h.data(h.message(LESSON, flag=7)),
    "compression without its header": lambda _: (
        START + h.headers(h.block()) + h.data(h.message(LESSON, flag=1))
    ),
    "compression of garbage": lambda chance: (
        START + h.headers(h.block(grpc_encoding="gzip")) + h.data(h.message(chance.randbytes(100), flag=1))
    ),
    "an unknown compression": lambda _: (
        START + h.headers(h.block(grpc_encoding="br")) + h.data(h.message(LESSON, flag=1))
    ),
    "64 MiB of zeros in gzip": lambda _: compressed("gzip", 64 << 20),
    "64 MiB of zeros in deflate": lambda _: compressed("deflate", 64 << 20),
    "invalid HPACK": mutated_headers,
    "a flood of settings": settings_flood,
    "a flood of pings": lambda _: START + h.frame(h.PING, payload=bytes(8)) * FLOOD,
    "a flood of acknowledgements": lambda _: START + h.frame(h.SETTINGS, flags=h.ACK) * FLOOD,
    "a flood of priorities": lambda _: START + h.frame(h.PRIORITY, stream=1, payload=bytes(5)) * FLOOD,
    "a flood of unknown frames": lambda chance: (
        START + h.frame(chance.randint(10, 255), flags=255, stream=3, payload=bytes(20)) * FLOOD
    ),
    "a flood of empty DATA": lambda _: START + h.headers(h.block()) + h.data(b"", flags=0) * FLOOD,
    "a flood of window updates": lambda _: (
        START + h.headers(h.block()) + h.window_update(1, stream=1) * FLOOD
    ),
    "a thousand idle streams": lambda _: (
        START + b"".join(h.headers(h.block(path=h.FORWARD_STREAM), stream=at) for at in stream_numbers(FLOOD))
    ),
    "a thousand watchers": lambda _: (
        START + b"".join(h.call(b"", path=h.WATCH, stream=at) for at in stream_numbers(20))
    ),
}
del SILENCED["a thousand watchers"]  # health is answered
# These contain valid messages; gRPC decides whether they are answered.
OPEN = {
    "a valid call": lambda _: START + h.call(LESSON),
    "another content type": lambda _: START + h.call(LESSON, content_type="text/plain"),
    "no te": lambda _: START + h.call(LESSON, te=None),
    "two messages in one call": lambda _: START + h.headers(h.block()) + h.data(h.message(LESSON) * 2),
    "DATA after the end": lambda _: START + h.call(LESSON) + h.data(h.message(LESSON)) * 5,
    "HEADERS twice": lambda _: START + h.call(LESSON) + h.call(LESSON),
    "streams that count down": lambda _: START + h.call(LESSON, stream=5) + h.call(LESSON, stream=3),
    "a window of zero": lambda _: h.PREFACE + h.settings([(h.INITIAL_WINDOW, 0)]) + h.call(LESSON) * 1,
    "rapid reset": rapid_reset,
    "watchers": lambda _: START + b"".join(h.call(b"", path=h.WATCH, stream=at) for at in stream_numbers(50)),
    "metadata of a megabyte": lambda _: (
        START
        + b"".join(
            [h.headers(h.block(), flags=0)]
            + [
                h.frame(h.CONTINUATION, stream=1, payload=h.field(f"x-{at}", b"y" * 16_000))
                for at in range(64)
            ]
            + [h.frame(h.CONTINUATION, stream=1, flags=4), h.data(h.message(LESSON))]
        )
    ),
    "a conversation with wrong bytes": mutated_conversation,
}


MANY_CALLS = ("rapid reset", "a thousand idle streams", "watchers")
FREQUENT = (mutated_conversation, mutated_headers) * 10


class Asking:
    """A valid client in a separate thread during the block; its failure fails the block."""

    def __init__(self, server):
        self._client = GoodClient(server)
        self._is_over = threading.Event()
        self._error = None
        self.slowest_s = 0.0
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._is_over.set()
        self._thread.join()
        self._client.close()
        if self._error is not None:
            raise self._error

    @property
    def count(self):
        return self._client.answer_count

    def _ask(self):
        try:
            while not self._is_over.wait(0.002):
                began_s = time.monotonic()
                self._client.ask()
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        except Exception as error:  # noqa: BLE001 - raised at the end of the block
            self._error = error


@pytest.fixture(scope="module")
def server():
    """A server with one heap, so that a leak differs from memory that many heaps keep after floods."""
    with ServerProcess("--log-level", "warning", env=os.environ | {"MALLOC_ARENA_MAX": "1"}) as server:
        yield server


def test_a_valid_call_by_hand_is_answered(server):
    """Shows that a valid call of this kind is answered, unlike those below."""
    (answer,) = h.answers_in(h.converse(server.port, START + h.call(LESSON), patience_s=h.END_S))
    assert pb.ForwardReply.FromString(answer[5:]).shape == [3, 5, 2]


def test_a_flood_of_calls_on_one_connection_cancels_no_other_clients_calls(server):
    """More calls than gRPC keeps by default; beyond that it cancels at random."""
    flood = START + b"".join(
        h.headers(h.block(path=h.FORWARD_STREAM), stream=at) for at in stream_numbers(3_000)
    )
    client = GoodClient(server)
    with h.connected(server.port) as connection:
        connection.sendall(flood)
        for _ in range(20):
            client.ask()
    client.close()


@pytest.mark.parametrize("fault", SILENCED)
def test_an_invalid_call_gets_no_answer_and_affects_no_other_client(server, fault):
    """The connection ends without a reply, and the next client gets the right bits."""
    received = h.converse(server.port, SILENCED[fault](random.Random(fault)), patience_s=PATIENCE_S)
    assert h.answers_in(received) == []
    client = GoodClient(server)
    client.ask()
    client.close()
    assert server.is_alive


@pytest.mark.parametrize(("kind", "max_growth_mib"), [("frames", 16), ("calls", 256)])
def test_broken_connections_leak_no_resources(server, report, kind, max_growth_mib):
    """A valid client gets the right bits all the time; memory, files and threads are released.

    After floods of calls the heap keeps the memory of the largest: ten thousand calls may wait, at some 20
    KiB.
    """
    chance = random.Random(7)
    counts = collections.Counter()
    faults = [make for name, make in (SILENCED | OPEN).items() if kind == "calls" or name not in MANY_CALLS]
    put(server, faults, chance, counts, rounds=1, until_s=time.monotonic() + extent.seconds(0.25))
    before, cpu_s = settled(server), server.cpu_s()  # the server may keep one-time costs, such as threads
    began_s = time.monotonic()
    with Asking(server) as asking:
        put(server, faults, chance, counts, rounds=2, until_s=began_s + extent.seconds())
    after = settled(server, file_count=before.file_count)
    report(
        **counts,
        good_answers=asking.count,
        slowest_good_ms=asking.slowest_s * 1e3,
        seconds=time.monotonic() - began_s,
        cpu_s=server.cpu_s() - cpu_s,
        rss_mib=before.rss_mib,
        growth_mib=after.rss_mib - before.rss_mib,
        files=f"{before.file_count} -> {after.file_count}",
        threads=f"{before.thread_count} -> {after.thread_count}",
    )
    assert server.is_alive
    assert not [sign for sign in SIGNS_OF_FAILURE if sign in server.logged()]
    assert after.file_count <= before.file_count
    assert after.thread_count <= before.thread_count + 2  # gRPC's thread pool varies
    if extent.IS_LONG:
        assert after.rss_mib - before.rss_mib < max_growth_mib
        assert asking.slowest_s < MAX_GOOD_S


def put(server, faults, chance, counts, *, rounds, until_s):
    """Injects every fault `rounds` times in random order, and further faults until `until_s`."""
    faults = [*faults]
    least = rounds * len(faults)
    for number in itertools.count():
        if number >= least and time.monotonic() > until_s:
            return
        if number % len(faults) == 0:
            chance.shuffle(faults)
        make = faults[number % len(faults)] if number < least else chance.choice((*faults, *FREQUENT))
        said = make(chance)
        h.converse(server.port, said, patience_s=chance.choice((0.0, 0.0, 0.0, 0.02)))
        counts["connections"] += 1
        counts["frames"] += sum(1 for _ in h.frames_in(said.removeprefix(h.PREFACE)))
        counts["bytes"] += len(said)


def settled(server, *, file_count=0):
    """Returns the footprint with one client: samples until the number of open files is small enough."""
    client = GoodClient(server)
    least = server.footprint()
    for _ in range(1_000):
        client.ask()
        now = server.footprint()
        least = now if now.file_count <= least.file_count else least
        if least.file_count <= file_count:
            break
    client.close()
    return least
