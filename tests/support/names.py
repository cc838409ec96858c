"""A DNS server for one name with addresses that the test chooses, like a headless service."""

import socketserver
import struct
import threading
from contextlib import contextmanager

_A, _IN = 1, 1
_ANSWER_FLAGS = 0x8580  # an authoritative response to a query with recursion desired
_HEADER_BYTES = 12


class Name(socketserver.ThreadingUDPServer):
    """Answers queries for IPv4 addresses with `addresses`, and others with no records."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.addresses = []
        self.asked_count = 0

    def target(self, port):
        """Returns the name at this server in gRPC's notation."""
        return f"dns://127.0.0.1:{self.server_address[1]}/replicas.test:{port}"

    def finish_request(self, request, client):
        data, socket = request
        end = data.index(b"\0", _HEADER_BYTES) + 5  # the name, then its type and class
        question = data[_HEADER_BYTES:end]
        (kind, _) = struct.unpack(">HH", question[-4:])
        addresses = self.addresses if kind == _A else []
        self.asked_count += kind == _A
        header = data[:2] + struct.pack(">HHHHH", _ANSWER_FLAGS, 1, len(addresses), 0, 0)
        socket.sendto(header + question + b"".join(map(_record, addresses)), client)


def _record(address):
    """Returns an A record that refers to the question's name, with a time to live of 0."""
    return struct.pack(">HHHIH4s", 0xC000 | _HEADER_BYTES, _A, _IN, 0, 4, bytes(map(int, address.split("."))))


@contextmanager
def name():
    """Runs a DNS server whose name has no addresses yet."""
    with Name() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()
