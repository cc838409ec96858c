"""Counters, metrics, the request observer, traces and logging."""
