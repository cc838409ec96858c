"""The command `unrolled` as `python -m unrolled_client`."""

from unrolled.entry_points import run_client

if __name__ == "__main__":
    run_client()
