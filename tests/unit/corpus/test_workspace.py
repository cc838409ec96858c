"""The lock of a job."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.workspace import Workspace
from unrolled_server.exit_codes import EXIT_UNFINISHED

pytestmark = pytest.mark.corpus


def test_a_second_command_on_one_output_is_refused_until_the_first_has_ended(tmp_path):
    with Workspace(tmp_path).locked():
        with (
            pytest.raises(CorpusError, match=f"another unrolled-map works on {tmp_path}; wait") as raised,
            Workspace(tmp_path).locked(),
        ):
            pass
        assert raised.value.exit_code == EXIT_UNFINISHED
        Workspace(tmp_path).clean_up()
    with Workspace(tmp_path).locked():
        pass
