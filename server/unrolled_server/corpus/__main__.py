"""The command `unrolled-map`, also `python -m unrolled_server.corpus`."""

from unrolled_server.corpus.command import main

if __name__ == "__main__":
    main()
