"""The HTTP endpoint that Prometheus scrapes: of this process, or of all the workers that it supervises.

Only this module imports prometheus_client. It imports neither torch nor gRPC, so a supervisor stays small.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from socket import socket
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from unrolled_server.observability.metrics import (
    METRICS,
    Buckets,
    Kind,
    Labels,
    Metric,
    Reading,
    Value,
    merged,
)
from unrolled_server.observability.multiprocess import WorkerReadings
from unrolled_server.transport.address import listeners, with_port_of

LOG = logging.getLogger(__name__)

# A scraper that sends nothing for so long is let go of.
IDLE_S = 10.0

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class MetricsEndpoint:
    """Answers scrapes in threads of its own until it is closed.

    Attributes:
        address: HOST:PORT, with the port that was found for port 0.
    """

    def __init__(self, servers: Sequence[WSGIServer], address: str) -> None:
        self.address = address
        self._servers = servers
        self._threads = [
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True) for server in servers
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops listening."""
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def serve_metrics(
    address: str, directory: Path | None = None, *, reading: Callable[[], Reading] = dict
) -> MetricsEndpoint:
    """Serves metrics on an address until the endpoint is closed.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        directory: Where workers write theirs, for their supervisor; see `worker_readings`.
        reading: What this process says; called from other threads.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading, WorkerReadings(directory) if directory else None))
    sockets = listeners(address, flag="--metrics-address")
    servers = [_Http(each) for each in sockets]
    for server in servers:
        server.set_app(make_wsgi_app(registry))
    endpoint = MetricsEndpoint(servers, with_port_of(sockets[0], address))
    LOG.info("metrics on http://%s/metrics", endpoint.address)
    return endpoint


class _Http(ThreadingMixIn, WSGIServer):
    """Serves on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listening: socket) -> None:
        # Binding here would ask for the address's name, which may take seconds.
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
        """Scrapes are not worth a line each."""


class _Collector(Collector):
    """Readings as prometheus_client's families, in the order of the table."""

    def __init__(self, reading: Callable[[], Reading], workers: WorkerReadings | None) -> None:
        self._reading = reading
        self._workers = workers

    def collect(self) -> Iterator[Family]:
        """What is true now."""
        own = self._reading()
        reading = merged([own, self._workers.read()]) if self._workers else own
        for metric in METRICS:
            if metric in reading:
                yield _family(metric, reading[metric])


def _family(metric: Metric, series: Mapping[Labels, Value]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        return _histogram(metric, series)
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in series.items():
        assert not isinstance(value, Buckets)  # noqa: S101 - as its kind says
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, series: Mapping[Labels, Value]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    for labels, value in series.items():
        assert isinstance(value, Buckets)  # noqa: S101 - as its kind says
        family.add_metric(labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.total)
    return family
