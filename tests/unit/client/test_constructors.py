"""Arguments of the clients' constructors: their types, and None as their default."""

import re

import numpy as np
import pytest
from unrolled_client import AsyncClient, Client, InvalidRequestError

CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])


@CLIENTS
def test_none_is_the_default_of_every_argument_but_the_target(client_class):
    default = client_class("localhost:1")._arguments()
    given = dict.fromkeys(default) | {"target": "localhost:1"}
    assert client_class(**given)._arguments() == default


@CLIENTS
def test_bools_and_ints_of_numpy_are_taken(client_class):
    client = client_class("localhost:1", channels=np.int64(2), tracing=np.bool_(True))
    assert client._arguments()["channels"] == 2
    assert client._arguments()["tracing"] is True


@CLIENTS
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("channels", 2.0, r"channels is 2\.0 \(float\); pass an int"),
        ("channels", "2", r"channels is '2' \(str\); pass an int"),
        ("tracing", "no", r"tracing is 'no' \(str\); pass True or False"),
        ("tracing", 0.5, r"tracing is 0\.5 \(float\); pass True or False"),
        ("spread", True, r"spread is True \(bool\); it must be one of round_robin, network"),
        ("token", b"secret", "^token is bytes; pass a str$"),
        (
            "options",
            {"grpc.NAME": 1},
            r"options is \{'grpc.NAME': 1\} \(dict\); pass pairs of name",
        ),
        ("options", 3, r"options is 3 \(int\); pass pairs of name"),
        ("options", [("grpc.NAME",)], r"options\[0\] is .*; pass pairs of name and value"),
        ("timeout_s", "5", "timeout_s is '5'"),
    ],
)
def test_a_value_of_another_type_is_a_type_error_that_names_it(client_class, name, value, said):
    with pytest.raises(TypeError, match=said):
        client_class("localhost:1", **{name: value})


@CLIENTS
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("timeout", "did you mean 'timeout_s'?"),
        ("root_certificate", "did you mean 'root_certificates'?"),
        ("zzz", "it takes target, timeout_s, options,"),
    ],
)
def test_an_unknown_argument_gets_the_nearest_that_there_is(client_class, wrong, said):
    with pytest.raises(
        TypeError, match=re.escape(f"{client_class.__name__}() has no argument '{wrong}'; {said}")
    ):
        client_class("localhost:1", **{wrong: 3})


@pytest.mark.parametrize("value", ["False", 2, 0.5])
def test_merge_is_a_bool(value):
    with pytest.raises(TypeError, match=r"merge is .*; pass True or False"):
        AsyncClient("localhost:1", merge=value)


@CLIENTS
@pytest.mark.parametrize(("name", "value"), [("channels", 0), ("channels", -1), ("spread", "random")])
def test_a_value_out_of_range_is_refused_with_the_range(client_class, name, value):
    with pytest.raises(InvalidRequestError, match=f"{name} is .*; it must be "):
        client_class("localhost:1", **{name: value})
