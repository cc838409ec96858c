"""Messages of the contract: arguments to request bytes, reply bytes to arrays."""
