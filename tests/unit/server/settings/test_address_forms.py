"""Addresses are taken as typed where the meaning is beyond doubt, else refused with the right form."""

import os
import re
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.settings.address_forms import (
    MAX_SOCKET_PATH_BYTES,
    parse_address,
    parse_host_port,
    split_host_port,
)

check = partial(parse_address, default_port=50051)


@pytest.mark.parametrize(
    ("address", "right"),
    [
        (":50051", "'[::]:50051' for every interface or '127.0.0.1:50051' for this machine"),
        ("50051", "'[::]:50051' for every interface or '127.0.0.1:50051' for this machine"),
        ("*", "'[::]:50051' for every interface or '127.0.0.1:50051' for this machine"),
        ("*:50051", "'[::]:50051' for every interface or '127.0.0.1:50051' for this machine"),
        ("::1:50051", "'[::1]:50051'"),
        ("::1", "'[::1]:50051'"),
        ("::", "'[::]:50051'"),
        (":::7", "'[::]:7'"),
        ("fe80::1%eth0:7", "'[fe80::1%eth0]:7'"),
        ("127.0.0.1", "'127.0.0.1:50051'"),
        ("localhost", "'localhost:50051'"),
        ("localhost:", "'localhost:50051'"),
        ("[::1]", "'[::1]:50051'"),
        ("", "'127.0.0.1:50051'"),
        (" ", "'127.0.0.1:50051'"),
        ("http://0.0.0.0:7", "'0.0.0.0:7'"),
        ("https://example.com/path", "'example.com:50051'"),
        ("http://name:password@example.com:7/", "'example.com:7'"),
        ("tcp://:7", "'[::]:7'"),
        ("dns:///example.com:7", "'example.com:7'"),
        ("/run/s", "'unix:/run/s'"),
        ("~/s", "'unix:~/s'"),
        ("unix://run/s", "'unix:/run/s', or 'unix:run/s' in the working directory"),
        ("unix-abstract:s", "'unix:PATH'"),
        ("[::1]7", "one with its port, such as '[::1]:50051'"),
        ("[127.0.0.1]:7", "one with its port, such as '[::1]:50051'"),
    ],
)
def test_what_has_another_form_is_refused_with_the_right_one(address, right):
    with pytest.raises(ValueError, match="write") as caught:
        check(address)
    remedy = str(caught.value).partition("write ")[2]
    assert remedy.startswith(right)
    for form in re.findall("'([^']+)'", remedy):
        check(form)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0:70000", "port '70000' is not a number from 0 to 65535"),
        ("localhost:http", "port 'http' is not a number"),
        ("localhost:-1", "port '-1' is not a number"),
        ("localhost:\uff15", "is not a number"),
        ("127.0.0.1: 7", "port ' 7' is not a number"),
        ("127.0.0.1 :7", "has ' ' in it"),
        ("[::1]7:7", "'[::1]7' is not an IPv6 address in brackets"),
        ("run/s", "the host 'run/s' has '/' in it"),
        ("ipv4:0.0.0.0:7", "has ':' in it"),
        ("a:1,b:2", "write one HOST:PORT"),
        ("user@host:7", "has '@' in it"),
        ("\udcff:7", r"has '\udcff' in it"),
        ("unix:", "the path is ''"),
        ("unix: /run/s", "without blanks around it"),
        ("unix:/run/s ", "without blanks around it"),
        ("unix:/run/a,b", "a comma"),
        ("unix:~nobody-of-this-name/s", "home directory that is not known"),
    ],
)
def test_what_nothing_can_listen_on_is_refused_with_the_reason(address, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        check(address)


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        (" 127.0.0.1:50051\n", "127.0.0.1:50051"),
        ("localhost:65535", "localhost:65535"),
        ("[::]:50051", "[::]:50051"),
        ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7"),
        ("my-host.example:7", "my-host.example:7"),
        ("unix:/run/a%20b ?#c", "unix:/run/a%20b ?#c"),
        ("unix:relative", "unix:relative"),
        ("unix:///run/s", "unix:/run/s"),
        ("unix:////run//s", "unix:/run/s"),
        ("UNIX:/run/s", "unix:/run/s"),
        ("unix:~/s", "unix:/home/me/s"),
    ],
)
def test_what_is_beyond_doubt_is_taken(monkeypatch, address, taken):
    monkeypatch.setenv("HOME", "/home/me")
    assert check(address) == taken


@given(st.text(alphabet="ab1:[]*/.%, ~", max_size=12) | st.text(max_size=12))
def test_what_is_taken_once_is_taken_again_as_it_is(text):
    """A worker checks its supervisor's settings again."""
    taken = None
    with suppress(ValueError):
        taken = check(text)
    if taken is not None:
        assert check(taken) == taken


def test_a_socket_path_is_as_long_as_the_system_allows_and_counts_in_bytes():
    longest = f"unix:/{'x' * (MAX_SOCKET_PATH_BYTES - 1)}"
    assert check(longest) == longest
    accents = "\u00e9" * (MAX_SOCKET_PATH_BYTES // 2 + 1)
    with pytest.raises(ValueError, match=f"has {len(os.fsencode(accents))} bytes"):
        check(f"unix:{accents}")


def test_a_metrics_address_is_refused_with_its_own_port():
    with pytest.raises(ValueError, match="write 'localhost:9464'"):
        parse_host_port("localhost", default_port=9464)


@pytest.mark.parametrize("address", ["unix:/run/s", "unix-abstract:s", "/run/s", "~/s"])
def test_a_path_is_refused_where_only_a_port_will_do(address):
    with pytest.raises(ValueError, match=r"not HOST:PORT; write one, such as '127\.0\.0\.1:9464'"):
        parse_host_port(address, default_port=9464)


@pytest.mark.parametrize(
    ("address", "parts"), [("[::1]:7", ("::1", 7)), ("localhost:0", ("localhost", 0)), ("[::]:1", ("::", 1))]
)
def test_an_address_is_split_into_host_and_port(address, parts):
    assert split_host_port(address) == parts
