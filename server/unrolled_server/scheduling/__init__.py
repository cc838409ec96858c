"""Admission, the fair queue, compute threads and the cost model."""
