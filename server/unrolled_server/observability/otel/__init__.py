"""OpenTelemetry: spans of requests and numbers of the process, sent by OTLP. The door of this package.

The only package of the server to import opentelemetry, and imported only where it is asked for. Where spans
go and how many are kept is said in the environment, by OpenTelemetry's own OTEL_* variables.
"""

from unrolled_server.observability.otel.exporting import MetricsExport
from unrolled_server.observability.otel.traces import Spans

__all__ = ["MetricsExport", "Spans"]
