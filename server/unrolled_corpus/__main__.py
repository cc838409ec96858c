"""The command `unrolled-map`, also `python -m unrolled_corpus`."""

from unrolled.entry_points import run_map

if __name__ == "__main__":
    run_map()
