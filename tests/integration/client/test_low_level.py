"""The interface for tools that send raw bytes."""

import asyncio

import grpc
import numpy as np
import pytest
from unrolled_client import Client, InvalidRequestError, low_level

WORDS = ["hello", "eolll"]
TIMEOUT_S = 120


def test_every_name_is_there():
    assert low_level.__all__ == sorted(low_level.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(low_level, name) for name in low_level.__all__)


def test_raw_bytes_get_the_states_that_the_client_gets(server_address):
    data = low_level.encode_request(low_level.check_request(WORDS, hidden_size=3)).data
    endpoint = low_level.Endpoint(target=server_address)
    with low_level.open_channel(endpoint) as channel:
        method = channel.unary_unary(low_level.FORWARD)
        reply = low_level.parse_reply(method(data, timeout=TIMEOUT_S, metadata=endpoint.metadata))
    with Client(server_address) as client:
        expected = client.forward(WORDS, hidden_size=3).outputs
    np.testing.assert_array_equal(reply.values.reshape(expected.shape), expected)


def test_a_failed_raw_call_becomes_the_clients_exception(server_address):
    endpoint = low_level.Endpoint(target=server_address)
    data = low_level.encode_request(low_level.check_request(WORDS, hidden_size=0)).data

    async def call():
        async with low_level.open_aio_channel(endpoint) as channel:
            await channel.unary_unary(low_level.FORWARD)(data, timeout=TIMEOUT_S)

    with pytest.raises(grpc.RpcError) as caught:
        asyncio.run(call())
    error = endpoint.error(caught.value)
    assert isinstance(error, InvalidRequestError)
    assert error.violations[0].field == "hidden_size"
