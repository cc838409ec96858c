"""What types the arguments of every call may have, and what is said of others."""

import inspect
import math
import pydoc
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import AsyncClient, Client, InvalidRequestError, NetworkOptions
from unrolled_client._messages.arguments import as_bool, as_integer, as_number, as_seed
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request
from unrolled_client.network import DEFAULT_NETWORK, options_in

NOBODY = "127.0.0.1:1"
WORDS = ["abc"]
REQUIRED = {"hidden_size": 2, "alphabet": "abc"}
BOOLS = ("bidirectional", "bias", "return_final_state", "truncate")
COUNTS = ("num_layers", "proj_size", "embedding_size", "word_embedding_size")
CHOICES = ("cell", "nonlinearity", "output", "unknown_word", "unknown_symbol", "on_empty")
OTHERS = ("spectral_radius", "leak_rate", "input_scaling", "density", "vectors")
NETWORKS = {"hidden_sizes": [2], "seeds": [0]}
# The result of each call with all that it requires.
CALLS = {
    "forward": lambda client, **given: client.forward(WORDS, **({"hidden_size": 2} | given)),
    "map": lambda client, **given: next(iter(client.map([WORDS], **(REQUIRED | given)))).result,
    "sweep": lambda client, **given: next(iter(client.sweep(WORDS, **(NETWORKS | given)))),
    "session": lambda client, **given: client.session(**(REQUIRED | given)).feed(WORDS),
}


def checked(**options):
    """A request with these options."""
    return check_request(WORDS, hidden_size=2, options=options)


def test_every_option_is_tested_here():
    """Each of the network's options is of one of the kinds below."""
    assert {*BOOLS, *COUNTS, *CHOICES, *OTHERS} == NetworkOptions.__annotations__.keys()


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, 1, 0, np.int8(1)])
def test_bools_of_python_and_numpy_are_taken(value):
    """They mean what they say, and become Python's."""
    assert as_bool("bias", value) is bool(value)


@pytest.mark.parametrize("value", ["False", "no", "0", "", 2, -1, 0.5, 1.0, math.nan, b"1", [], [True], None])
def test_what_is_no_bool_is_named(value):
    """Text that would be true, and numbers that would be, are TypeErrors with argument and value."""
    with pytest.raises(TypeError) as caught:
        as_bool("bidirectional", value)
    assert str(caught.value).startswith(f"bidirectional is {value!r}")
    assert str(caught.value).endswith("; pass True or False")


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("value", ["False", 2, 0.5])
def test_every_call_checks_bools(make_client, call, name, value):
    """Before anything is sent, by the argument's name."""
    with make_client(NOBODY) as client, pytest.raises(TypeError, match=f"{name} is {value!r}"):
        CALLS[call](client, **{name: value})


@pytest.mark.parametrize("value", [2, True, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)])
def test_integers_of_python_and_numpy_are_taken(value):
    """Whatever is an index to Python is an int."""
    assert as_integer("hidden_size", value) == int(value)
    assert type(as_integer("hidden_size", value)) is int


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (64.0, "is 64.0 (float); pass an int, such as 64"),
        ("64", "is '64' (str); pass an int, such as 64"),
        (np.float32(3), "(float32); pass an int, such as 3"),
        ("many", "is 'many' (str); pass an int"),
        (math.inf, "is inf (float); pass an int"),
        ([2], "is [2] (list); pass an int"),
        (None, "is None; pass an int"),
        ("9" * 5_000, "... (str)"),
    ],
)
def test_what_is_no_integer_is_named(value, says):
    """The message has the argument, the value, its type, and an int in its place if there is one."""
    with pytest.raises(TypeError) as caught:
        as_integer("hidden_size", value)
    message = str(caught.value)
    assert message.startswith("hidden_size is ")
    assert says in message
    assert len(message) < 200


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [2.0, "2", math.nan])
def test_counts_are_integers(name, value):
    """A float is no count, however whole."""
    with pytest.raises(TypeError, match=f"{name} is "):
        checked(**{name: value})


@pytest.mark.parametrize("value", [0.5, 2, np.float32(0.5), np.float64(0.5), np.int32(2)])
def test_real_numbers_are_taken(value):
    """Python's and numpy's, as a float of Python's."""
    assert as_number("spectral_radius", value) == value
    assert type(as_number("spectral_radius", value)) is float


@pytest.mark.parametrize("value", ["0.9", b"0.9", True, np.True_, 1j, [0.9], np.str_("0.9")])
def test_what_is_no_number_is_named(value):
    """Text and bools stand for no number."""
    with pytest.raises(TypeError, match=r"spectral_radius is .*; pass a number"):
        as_number("spectral_radius", value)


@pytest.mark.parametrize("digits", [400, 5_000])
def test_numbers_that_no_wire_carries_are_refused_in_few_words(digits):
    """An int beyond every float, and one that Python does not even write."""
    value = -(10**digits)
    for name in ("spectral_radius", "num_layers"):
        with pytest.raises(InvalidRequestError, match=f"{name} is ") as caught:
            checked(**{name: value})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_text(name):
    """Another type is a TypeError, another text an InvalidRequestError; both list what may be."""
    for value, error in (
        (3, TypeError),
        (["lstm"], TypeError),
        (b"lstm", TypeError),
        ("x", InvalidRequestError),
    ):
        with pytest.raises(error, match=rf"{name} is .*; it must be one of \w+, \w+"):
            checked(vectors="glove", **{name: value})


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        ("forward", "layout", 3),
        ("map", "layout", 3),
        ("sweep", "layout", ["batch_first"]),
        ("session", "layout", 3),
        ("map", "ordered", "no"),
        ("map", "progress", "yes"),
        ("forward", "progress", "yes"),
        ("sweep", "progress", "yes"),
        ("map", "on_error", True),
        ("map", "max_in_flight", 2.0),
        ("sweep", "max_in_flight", "2"),
        ("map", "hidden_size", 2.0),
        ("map", "seed", 0.5),
        ("session", "seed", "0"),
        ("forward", "alphabet", ["a", "b"]),
        ("map", "alphabet", ["a", "b"]),
        ("session", "alphabet", 3),
    ],
)
def test_other_arguments_are_checked_before_anything_is_sent(make_client, call, name, value):
    """Each by its name and value, whichever call has it."""
    with make_client(NOBODY) as client, pytest.raises(TypeError) as caught:
        CALLS[call](client, **{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r} (")


def test_what_happens_on_errors_is_one_of_two(make_client):
    """A third word is refused, not taken for "return"."""
    with make_client(NOBODY) as client, pytest.raises(InvalidRequestError, match="one of raise, return"):
        CALLS["map"](client, on_error="ignore")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("client_class", [Client, AsyncClient])
def test_none_may_be_given_for_every_argument_with_a_default(client_class, call):
    """Signatures say so: what is not required allows None."""
    method = getattr(client_class, call)
    parameters, kinds = inspect.signature(method).parameters.values(), get_type_hints(method)
    optional = [one.name for one in parameters if one.default is not inspect.Parameter.empty]
    assert NetworkOptions.__annotations__.keys() <= set(optional)
    assert all(type(None) in get_args(kinds[name]) for name in optional)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("client_class", [Client, AsyncClient])
def test_signatures_show_the_options_with_their_types_and_real_defaults(client_class, call):
    """So that Tab and help() show them; "tanh" is what None means for the cell "rnn"."""
    method = getattr(client_class, call)
    parameters, kinds = inspect.signature(method).parameters, get_type_hints(method)
    defaults = DEFAULT_NETWORK._replace(nonlinearity="tanh")._asdict()
    assert {name: parameters[name].default for name in defaults} == defaults
    assert get_type_hints(NetworkOptions).items() <= kinds.items()


def test_help_shows_the_short_names_of_types():
    """Not the unions that they stand for."""
    shown = pydoc.render_doc(Client.forward, renderer=pydoc.plaintext)
    assert "cell: 'Cell | None' = 'rnn'" in shown
    assert "initial_state: 'StateLike | None' = None" in shown


def test_only_options_with_other_values_than_the_defaults_are_checked():
    """The others cost a small call nothing; a number that only equals a default is checked."""
    defaults = {**DEFAULT_NETWORK._asdict(), "nonlinearity": "tanh", "unknown": {}}
    assert options_in(defaults) == {}
    assert options_in({**defaults, "bias": 1.0, "cell": None}) == {"bias": 1.0, "cell": None}
    assert options_in({**defaults, "unknown": {"cel": "gru"}}) == {"cel": "gru"}


@pytest.mark.parametrize("call", CALLS)
def test_none_is_the_default(make_client, server_address, call):
    """All of a call's arguments given as None give the bits of the call without them."""
    names = [
        one.name
        for one in inspect.signature(getattr(Client, call)).parameters.values()
        if one.default is not inspect.Parameter.empty
    ]
    nothing = dict.fromkeys(names)
    if call in {"map", "session"}:
        del nothing["alphabet"]  # which it requires
    with make_client(server_address) as client:
        given, plain = CALLS[call](client, **nothing), CALLS[call](client)
    assert given.outputs.tobytes() == plain.outputs.tobytes()
    assert (given.seed, given.layout, given.network) == (plain.seed, plain.layout, plain.network)


@pytest.mark.parametrize("call", CALLS)
def test_every_result_has_its_words(make_client, server_address, call):
    """As a tuple, so that rows can be labelled."""
    with make_client(server_address) as client:
        assert CALLS[call](client).words == tuple(WORDS)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("num_layer", "num_layers"),
        ("bidirectinal", "bidirectional"),
        ("timeout", "timeout_s"),
        ("alphabets", "alphabet"),
        ("layouts", "layout"),
        ("spectral_radios", "spectral_radius"),
    ],
)
def test_an_unknown_argument_gets_the_nearest_that_the_call_takes(make_client, call, wrong, right):
    """Among the network's options and the call's own arguments."""
    says = rf"^{call}\(\) has no argument '{wrong}'; did you mean '{right}'\?$"
    with make_client(NOBODY) as client, pytest.raises(TypeError, match=says):
        CALLS[call](client, **{wrong: None})


def test_only_what_the_call_takes_is_proposed(make_client):
    """An argument of another call is not; without a near one all are listed."""
    with make_client(NOBODY) as client:
        with pytest.raises(TypeError, match=r"map\(\).*did you mean 'max_in_flight'"):
            CALLS["map"](client, max_inflight=3)
        with pytest.raises(TypeError, match=r"forward\(\) has no argument 'ordered'; it takes words, "):
            CALLS["forward"](client, ordered=True)


TORCH_SEEDS = [0, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1, -(2**63), -(2**32)]


@pytest.mark.parametrize("seed", TORCH_SEEDS)
def test_every_seed_of_torchs_gives_torchs_network(make_client, server_address, seed):
    """From -2**63 to 2**64 - 1; the result has the seed as it was given."""
    torch.manual_seed(seed)
    network = torch.nn.RNN(3, 2, batch_first=True)
    with torch.no_grad():
        expected = network(torch.eye(3)[None])[0].numpy()
    with make_client(server_address) as client:
        given = {call: {"seeds": [seed]} if call == "sweep" else {"seed": seed} for call in CALLS}
        results = [CALLS[call](client, **given[call]) for call in CALLS]
    for result in results:
        np.testing.assert_allclose(result.outputs, expected, atol=1e-6)
        assert result.seed == seed


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**64])
def test_seeds_that_torch_refuses_are_refused(seed):
    """With the range that it takes."""
    with pytest.raises(ValueError, match="Overflow"):
        torch.manual_seed(seed)
    with pytest.raises(InvalidRequestError, match="from -9223372036854775808 to 18446744073709551615"):
        as_seed("seed", seed)


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_seed_travels_as_its_64_bits(seed):
    """The wire and the network's key are those of the same bits with a sign."""
    request = check_request(WORDS, hidden_size=2, seed=seed)
    signed = check_request(WORDS, hidden_size=2, seed=(seed + 2**63) % 2**64 - 2**63)
    assert encode(request).data == encode(signed).data
    assert request.network_key == signed.network_key
    assert (pb.ForwardRequest.FromString(encode(request).data).seed - seed) % 2**64 == 0
