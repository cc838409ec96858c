"""Settings of the server: flags, environment variables and their validation."""

from unrolled_server.settings.model import Settings

__all__ = ["Settings"]
