"""Messages on a closed standard error."""

import io
import os

import pytest
from unrolled_corpus.progress import Display

pytestmark = pytest.mark.corpus


def test_a_closed_standard_error_does_not_end_a_job():
    display = Display()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        display._console.file = io.TextIOWrapper(pipe, write_through=True)
        display.print("x")
