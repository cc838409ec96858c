"""Plan of a run: requests and when they are due."""
