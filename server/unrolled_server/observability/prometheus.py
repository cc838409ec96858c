"""The HTTP endpoint that Prometheus scrapes."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from socket import socket
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from unrolled_server.observability.metrics import merge

LOG = logging.getLogger(__name__)

# A scraper that sends nothing for this long loses its connection.
IDLE_S = 10.0


class MetricsEndpoint(Collector):
    """An endpoint that answers scrapes in threads of its own until it is closed.

    `prometheus_client.start_http_server` binds only one of a host's addresses, waits for DNS to name it, and
    never ends an idle connection; so this takes sockets that listen already. Other threads call `collectors`,
    whose families are merged.
    """

    def __init__(
        self, address: str, sockets: Sequence[socket], collectors: Sequence[Callable[[], Iterable[Metric]]]
    ) -> None:
        self._collectors = collectors
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        app = make_wsgi_app(registry)
        self.address = f"{address.rpartition(':')[0]}:{sockets[0].getsockname()[1]}"
        self._servers = [_Server(each) for each in sockets]
        for server in self._servers:
            server.set_app(app)
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        LOG.info("metrics on http://%s/metrics", self.address)

    def collect(self) -> Iterable[Metric]:
        return merge(family for collect in self._collectors for family in collect())

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingWSGIServer):
    def __init__(self, listening: socket) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, _request: object, client_address: object) -> None:
        """Logs at debug level: a scraper that went away or fell silent needs no attention."""
        LOG.debug("a scrape by %s failed: %r", client_address, sys.exception())


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Logs nothing: one line for each scrape is too many."""
