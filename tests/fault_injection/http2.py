"""HTTP/2 by hand: frames that are right, and frames that no library would write."""

import contextlib
import socket
import struct

from tests.fault_injection.mutation import varint as _leb128

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = range(1, 7)
HEAD_BYTES = 9
FORWARD = "/unrolled.v1.ForwardService/Forward"
FORWARD_STREAM = "/unrolled.v1.ForwardService/ForwardStream"
WATCH = "/grpc.health.v1.Health/Watch"
# A connection that is not ended within this, once the other side has said all, hangs.
END_S = 20.0


def frame(kind, *, flags=0, stream=0, payload=b"", size=None):
    """One frame; `size` is what its head says of the payload, if not the truth."""
    told = len(payload) if size is None else size
    return struct.pack(">BHBBI", told >> 16 & 0xFF, told & 0xFFFF, kind, flags, stream) + payload


def settings(values=()):
    """What a connection starts with."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in values))


def window_update(increment, *, stream=0):
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", increment))


def text(value):
    """A string of HPACK, as it is."""
    size = len(value)
    head = bytes([size]) if size < 0x7F else b"\x7f" + _leb128(size - 0x7F)
    return head + value


def field(name, value):
    """A header, spelled out and kept in no table."""
    return b"\x00" + text(name.encode()) + text(value if isinstance(value, bytes) else value.encode())


def block(path=FORWARD, **changes):
    """A gRPC call's headers; a change to None leaves one out, `more` are appended bytes."""
    more = changes.pop("more", b"")
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    } | {name.replace("__", ":").replace("_", "-"): value for name, value in changes.items()}
    return b"".join(field(name, value) for name, value in headers.items() if value is not None) + more


def headers(payload, *, stream=1, flags=END_HEADERS):
    return frame(HEADERS, flags=flags, stream=stream, payload=payload)


def message(payload, *, size=None, flag=0):
    """A gRPC message; `size` is what its prefix says, if not the truth."""
    return struct.pack(">BI", flag, len(payload) if size is None else size) + payload


def data(payload, *, stream=1, flags=END_STREAM):
    return frame(DATA, flags=flags, stream=stream, payload=payload)


def call(request, *, stream=1, path=FORWARD, **changes):
    """A whole call."""
    return headers(block(path, **changes), stream=stream) + data(message(request), stream=stream)


@contextlib.contextmanager
def connected(port):
    """A bare connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=END_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def converse(port, said, *, patience_s=0.0):
    """Says all of it, waits for what a call ends with, and says no more; gives all that came back.

    A server that is told that no more comes drops what it would have answered; so where the answer counts, it
    is told once some call is over, or nothing has come for a while.

    Args:
        port: The server's.
        said: Bytes.
        patience_s: The while.

    Raises:
        TimeoutError: The server did not end the connection when it was told.
    """
    received = bytearray()
    with connected(port) as connection, _ended_early():
        connection.sendall(said)
        connection.settimeout(patience_s or END_S)
        with contextlib.suppress(TimeoutError):
            while patience_s and not _is_over(received):
                received += _piece(connection)
        connection.settimeout(END_S)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(1 << 16):
            received += piece
    return bytes(received)


@contextlib.contextmanager
def _ended_early():
    """The server may end the connection before it has heard all."""
    try:
        yield
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise


def _piece(connection):
    piece = connection.recv(1 << 16)
    if not piece:
        raise ConnectionResetError
    return piece


def _is_over(received):
    """Whether some call or the connection is."""
    return any(
        kind in (RST_STREAM, GOAWAY) or (kind in (HEADERS, DATA) and flags & END_STREAM)
        for kind, flags, _, _ in frames_in(received)
    )


def frames_in(received):
    """(type, flags, stream, payload) of each whole frame."""
    at = 0
    while at + HEAD_BYTES <= len(received):
        high, low, kind, flags, stream = struct.unpack_from(">BHBBI", received, at)
        end = at + HEAD_BYTES + (high << 16 | low)
        yield kind, flags, stream, received[at + HEAD_BYTES : end]
        at = end


def answers_in(received):
    """The payloads of DATA frames, which is where replies are."""
    return [payload for kind, _, _, payload in frames_in(received) if kind == DATA and payload]
