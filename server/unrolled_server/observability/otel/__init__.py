"""OpenTelemetry traces: a span for each request, sent by OTLP. Imported only with `--otel`."""

from unrolled_server.observability.otel.traces import RequestTracer

__all__ = ["RequestTracer"]
