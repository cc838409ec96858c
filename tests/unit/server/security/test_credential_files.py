"""Files that are reloaded when they change, with a clock that the test sets."""

import logging

import pytest
from unrolled_server.security.credential_files import CredentialsError, ReloadingFiles, read_file


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "secret"
    file.write_text("one")
    file.chmod(0o600)
    return file


@pytest.fixture
def files(file, clock):
    return ReloadingFiles([file], lambda: read_file(file, setting="tokens"), clock=clock)


def test_a_change_is_seen_after_a_second_and_not_before(files, file, clock):
    """Files are checked once a second, however often their content is requested."""
    file.write_text("another")
    clock.now_s = 0.9
    assert files.content() == b"one"
    clock.now_s = 1.0
    assert files.content() == b"another"


def test_a_file_that_replaces_the_old_one_is_a_change(files, file, clock, tmp_path):
    """Kubernetes replaces files this way: same name, same length, another inode."""
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(file)
    clock.now_s = 1.0
    assert files.content() == b"two"


def test_a_broken_file_is_logged_once_and_the_old_content_stays(files, file, clock, caplog):
    """The server keeps the content of a file that vanishes, and reads the file when it is back."""
    file.unlink()
    for clock.now_s in (1.0, 2.0, 3.0):
        assert files.content() == b"one"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        f"tokens {file} cannot be read: No such file or directory; what was read before stays in use"
    ]
    file.write_text("back")
    clock.now_s = 4.0
    assert files.content() == b"back"


def test_unchanged_files_are_not_read_again(file, clock):
    """A check costs a stat, not a read."""
    reads = []
    files = ReloadingFiles([file], lambda: reads.append(1), clock=clock)
    for clock.now_s in (1.0, 2.0):
        files.content()
    assert reads == [1]


def test_the_first_read_raises_an_error(tmp_path, clock):
    """At startup there is no earlier content to keep."""
    with pytest.raises(CredentialsError, match=r"tls_key .*none cannot be read: No such file"):
        ReloadingFiles([], lambda: read_file(tmp_path / "none", setting="tls_key"), clock=clock)


@pytest.mark.parametrize(("mode", "logs"), [(0o600, False), (0o440, False), (0o644, True), (0o602, True)])
def test_a_secret_that_other_users_may_access_is_logged(file, caplog, mode, logs):
    """Access by the group is allowed."""
    file.chmod(mode)
    assert read_file(file, setting="tokens", is_secret=True) == b"one"
    assert ("open to every user of this machine" in caplog.text) == logs
