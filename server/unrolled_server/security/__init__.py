"""TLS files, bearer tokens and the reloading of both."""
