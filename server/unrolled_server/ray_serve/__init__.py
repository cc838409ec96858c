"""The same service under Ray Serve: the application, a replica, and our part of Serve's gRPC proxy."""
