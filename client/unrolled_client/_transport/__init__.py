"""Connections: targets, channels, retries, load balancing, tracing and fork safety."""
