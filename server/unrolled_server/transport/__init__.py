"""The gRPC server: addresses, channel arguments, health and unregistered methods."""
