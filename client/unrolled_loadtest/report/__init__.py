"""Reports of a run: terminal, JSON, HTML and the raw log."""
