"""Admission, the fair queue, the batcher, compute threads and the cost model."""
