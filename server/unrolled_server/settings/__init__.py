"""Settings of the server: flags, environment variables and their validation."""
