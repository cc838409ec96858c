"""The command `unrolled-load` as `python -m unrolled_loadtest`."""

from unrolled.entry_points import run_load

if __name__ == "__main__":
    run_load()
