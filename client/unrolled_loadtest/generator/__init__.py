"""Worker processes that send requests and record what comes back."""
