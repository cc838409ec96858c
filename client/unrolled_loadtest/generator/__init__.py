"""Worker processes, which send requests and record what became of each."""
