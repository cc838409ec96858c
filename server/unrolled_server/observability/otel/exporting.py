"""The table of metrics, sent by OTLP as it is read: the numbers that Prometheus would scrape.

A file of its own because it translates a `Reading` and counts nothing itself. OpenTelemetry's instruments
would be a second count of each request, which costs more than the first.
"""

import os
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from unrolled_server.observability import metrics
from unrolled_server.observability.metrics import Buckets, Kind, Labels, Reading, Value
from unrolled_server.observability.otel.collector import channel_options
from unrolled_server.observability.otel.ending import send_last
from unrolled_server.observability.otel.resource import SCOPE, own_resource

_UNITS = {"seconds": "s", "bytes": "By", "none": "1"}
_DEFAULT_INTERVAL_MS = 60_000.0


class MetricsExport:
    """Sends readings to where OTEL_EXPORTER_OTLP_ENDPOINT says.

    Attributes:
        every_s: Seconds between readings, as OTEL_METRIC_EXPORT_INTERVAL says.
    """

    def __init__(self) -> None:
        self.every_s = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", _DEFAULT_INTERVAL_MS)) / 1e3
        self._resource = own_resource()
        self._started_ns = time.time_ns()
        self._exporter = OTLPMetricExporter(
            channel_options=channel_options("METRICS"),  # type: ignore[arg-type]  # it takes any number of any
        )

    def send(self, reading: Reading) -> None:
        """Sends; waits for it. What cannot be sent is logged by the exporter and lost."""
        self._exporter.export(self.data(reading, now_ns=time.time_ns()))

    def close(self, reading: Reading) -> None:
        """Sends for the last time, and ends."""
        send_last(self._exporter, lambda: self.send(reading))
        self._exporter.shutdown()

    def data(self, reading: Reading, *, now_ns: int) -> MetricsData:
        """A reading in OpenTelemetry's terms."""
        found = [
            _metric(metric, series, times=(self._started_ns, now_ns)) for metric, series in reading.items()
        ]
        scope = ScopeMetrics(InstrumentationScope(SCOPE), found, schema_url="")
        return MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])


def _metric(metric: metrics.Metric, series: Mapping[Labels, Value], *, times: tuple[int, int]) -> Metric:
    return Metric(
        # OTLP to Prometheus adds the suffix again.
        name=metric.name.removesuffix("_total"),
        description=metric.help,
        unit=_UNITS.get(metric.unit, f"{{{metric.unit}}}"),
        data=_data(metric, series, times),
    )


def _data(
    metric: metrics.Metric, series: Mapping[Labels, Value], times: tuple[int, int]
) -> Sum | Gauge | Histogram:
    if metric.kind is Kind.HISTOGRAM:
        points = [_buckets(metric, labels, value, times) for labels, value in series.items()]
        return Histogram(points, AggregationTemporality.CUMULATIVE)
    numbers = [_number(metric, labels, value, times) for labels, value in series.items()]
    if metric.kind is Kind.GAUGE:
        return Gauge(numbers)
    return Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)


def _number(metric: metrics.Metric, labels: Labels, value: Value, times: tuple[int, int]) -> NumberDataPoint:
    assert not isinstance(value, Buckets)  # noqa: S101 - as its kind says
    return NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), *times, value)


def _buckets(
    metric: metrics.Metric, labels: Labels, value: Value, times: tuple[int, int]
) -> HistogramDataPoint:
    assert isinstance(value, Buckets)  # noqa: S101 - as its kind says
    return HistogramDataPoint(
        dict(zip(metric.labels, labels, strict=True)),
        *times,
        count=sum(value.counts),
        sum=value.total,
        bucket_counts=value.counts,
        explicit_bounds=metric.bounds,
        min=None,  # type: ignore[arg-type]  # not known, and optional in OTLP
        max=None,  # type: ignore[arg-type]
    )
