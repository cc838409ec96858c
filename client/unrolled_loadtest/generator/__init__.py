"""Worker processes, which send requests and record the outcome of each."""
