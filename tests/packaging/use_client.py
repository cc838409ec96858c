"""Calls the server at the given address; prints the results as JSON. Needs only the wheel."""

import json
import sys
from importlib.util import find_spec

from unrolled import Client, LocalExtraMissingError

with Client(sys.argv[1]) as client:
    result = client.forward(["hello", "eolll", "lleel"], hidden_size=2, seed=0)

try:
    Client.local().close()
    local_refusal = None
except LocalExtraMissingError as error:
    local_refusal = str(error)

seen = {
    "outputs": result.outputs.tolist(),
    "local_refusal": local_refusal,
    "torch_is_installed": find_spec("torch") is not None,
}
json.dump(seen, sys.stdout)
