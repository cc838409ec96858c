"""The server: speaks the contract in `unrolled.v1`, computes in `unrolled_server.engine`."""
