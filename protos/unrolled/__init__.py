"""The contract between Unrolled's server and its clients; see `unrolled.v1`."""
