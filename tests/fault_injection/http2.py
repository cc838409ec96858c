"""Writes HTTP/2 frames by hand, valid ones and ones that no library would write."""

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
# A server that does not close the connection within this time after the client has finished hangs.
END_S = 20.0


def frame(kind, *, flags=0, stream=0, payload=b"", size=None):
    """Returns one frame; `size` is a wrong payload size for its header."""
    written = len(payload) if size is None else size
    return struct.pack(">BHBBI", written >> 16 & 0xFF, written & 0xFFFF, kind, flags, stream) + payload


def settings(values=()):
    """Returns a SETTINGS frame, with which a connection starts."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in values))


def window_update(increment, *, stream=0):
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", increment))


def text(value):
    """Returns an HPACK string literal without Huffman coding."""
    size = len(value)
    head = bytes([size]) if size < 0x7F else b"\x7f" + _leb128(size - 0x7F)
    return head + value


def field(name, value):
    """Returns a literal HPACK header that enters no table."""
    return b"\x00" + text(name.encode()) + text(value if isinstance(value, bytes) else value.encode())


def block(path=FORWARD, **changes):
    """Returns a gRPC call's headers; None as a value removes a header, `more` is appended."""
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
    """Returns a gRPC message; `size` is a wrong size for its prefix."""
    return struct.pack(">BI", flag, len(payload) if size is None else size) + payload


def data(payload, *, stream=1, flags=END_STREAM):
    return frame(DATA, flags=flags, stream=stream, payload=payload)


def call(request, *, stream=1, path=FORWARD, **changes):
    """Returns the frames of a complete call."""
    return headers(block(path, **changes), stream=stream) + data(message(request), stream=stream)


@contextlib.contextmanager
def connected(port):
    """Opens a TCP connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=END_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def converse(port, said, *, patience_s=0.0):
    """Sends bytes, waits for the end of a call, closes the sending side, and returns all received bytes.

    A server drops pending replies when the client closes its sending side. So with `patience_s` the client
    closes only after a call has ended or nothing was received for that long.

    Args:
        port: The server's port.
        said: The bytes to send.
        patience_s: Seconds to wait for received bytes.

    Raises:
        TimeoutError: The server did not close the connection.
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
    """Allows the server to close the connection before it has read everything."""
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
    """Returns whether a call or the connection has ended."""
    return any(
        kind in (RST_STREAM, GOAWAY) or (kind in (HEADERS, DATA) and flags & END_STREAM)
        for kind, flags, _, _ in frames_in(received)
    )


def frames_in(received):
    """Yields (type, flags, stream, payload) of each complete frame."""
    at = 0
    while at + HEAD_BYTES <= len(received):
        high, low, kind, flags, stream = struct.unpack_from(">BHBBI", received, at)
        end = at + HEAD_BYTES + (high << 16 | low)
        yield kind, flags, stream, received[at + HEAD_BYTES : end]
        at = end


def answers_in(received):
    """Returns the payloads of DATA frames, which contain replies."""
    return [payload for kind, _, _, payload in frames_in(received) if kind == DATA and payload]
