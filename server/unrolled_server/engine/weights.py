"""The parameters that torch would draw, from a generator of our own.

`torch.manual_seed` sets one state for the whole process: two requests that draw at once would disturb each
other. A private generator gives the same numbers and leaves torch's own stream untouched.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32

from unrolled_server.engine.spec import NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The parameters of one tanh layer, as `torch.nn.RNN` names them.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html
    """

    weight_ih: Float32[torch.Tensor, "hidden input"]
    weight_hh: Float32[torch.Tensor, "hidden hidden"]
    bias_ih: Float32[torch.Tensor, " hidden"]
    bias_hh: Float32[torch.Tensor, " hidden"]


def draw(spec: NetworkSpec) -> Weights:
    """Exactly the parameters of `torch.manual_seed(seed); torch.nn.RNN(input_size, hidden_size)`.

    Always drawn on the CPU, so that a seed means the same on every device.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    bound = 1.0 / math.sqrt(spec.hidden_size)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)

    # Keyword arguments are evaluated in order, and this order is torch's.
    return Weights(
        weight_ih=uniform(spec.hidden_size, spec.input_size),
        weight_hh=uniform(spec.hidden_size, spec.hidden_size),
        bias_ih=uniform(spec.hidden_size),
        bias_hh=uniform(spec.hidden_size),
    )
