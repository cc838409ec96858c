"""Settings of the server: flags, environment variables and their validation."""

from unrolled_server.settings.model import Limits, Settings

__all__ = ["Limits", "Settings"]
