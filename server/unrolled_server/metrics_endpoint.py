"""The HTTP endpoint that Prometheus scrapes: of this process, or of all the workers that it supervises.

A file of its own because it is the only one that knows prometheus_client. It needs neither torch nor gRPC, so
a supervisor stays small.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from unrolled_server.metrics import METRICS, Buckets, Kind, Labels, Metric, Reading, Value, merged
from unrolled_server.worker_readings import WorkerReadings

LOG = logging.getLogger(__name__)

# A scraper that sends nothing for so long is let go of.
IDLE_S = 10.0

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class MetricsAddressError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


class MetricsEndpoint:
    """Answers scrapes in threads of its own until it is closed.

    Attributes:
        address: HOST:PORT, with the port that was found for port 0.
    """

    def __init__(self, http: WSGIServer, address: str) -> None:
        self.address = address
        self._http = http
        self._thread = threading.Thread(target=http.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def serve_metrics(
    address: str, directory: Path | None = None, *, reading: Callable[[], Reading] = dict
) -> MetricsEndpoint:
    """Serves metrics on an address until the endpoint is closed.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        directory: Where workers write theirs, for their supervisor; see `worker_readings`.
        reading: What this process says; called from other threads.

    Raises:
        MetricsAddressError: The address is taken, malformed or not of this machine.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading, WorkerReadings(directory) if directory else None))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    http_class = type("_Http", (_Http,), {"address_family": AF_INET6 if ":" in host else AF_INET})
    try:
        http = http_class((host, int(port)), _Handler)
    except (OSError, OverflowError, UnicodeError) as error:
        why = (
            "no such port" if isinstance(error, OverflowError) else getattr(error, "strerror", None) or error
        )
        raise MetricsAddressError(
            f"cannot serve metrics on {address}: {why}; choose another --metrics-address"
        ) from None
    http.set_app(make_wsgi_app(registry))
    endpoint = MetricsEndpoint(http, f"{address.rpartition(':')[0]}:{http.server_port}")
    LOG.info("metrics on http://%s/metrics", endpoint.address)
    return endpoint


class _Http(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Binds without asking for the address's name, which HTTPServer does, and which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, _request: object, client_address: object) -> None:
        """A scraper that went away or fell silent is no concern of ours."""
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
