"""Requests over streams: large calls in parts, `map` and `sweep`."""
