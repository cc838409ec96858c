"""Parameters of networks."""
