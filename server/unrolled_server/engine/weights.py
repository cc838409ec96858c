"""The weights that torch would have drawn.

A file of its own because exactness begins here: torch's order, torch's distribution, torch's generator, and
no global state. Drawn on the CPU whatever the device, because a CUDA generator gives other numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.memory import zeros
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.spectrum import scaled

# Matrix products over widths that are a multiple of 16 give a row the same bits at every position (design,
# section 4).
WIDTH_MULTIPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A network's weights as the step uses them, zero-padded to ``width`` columns.

    Attributes:
        input_table: Row s is what symbol s adds: W_ih[:, s] + b_ih + b_hh. The input product is this look-up.
        recurrent: W_hh transposed.
        input_rows_on_cpu: The memory of ``input_table`` as an array; without rows on other devices.
        recurrent_on_cpu: Likewise of ``recurrent``.
    """

    input_table: Float32[Tensor, "symbols width"]
    recurrent: Float32[Tensor, "width width"]
    input_rows_on_cpu: Float32[np.ndarray, "_ width"]
    recurrent_on_cpu: Float32[np.ndarray, "_ width"]

    @staticmethod
    def of(
        *, input_table: Float32[Tensor, "symbols width"], recurrent: Float32[Tensor, "width width"]
    ) -> "Weights":
        """Gives the weights in these tensors, on their device."""
        return Weights(
            input_table=input_table,
            recurrent=recurrent,
            input_rows_on_cpu=array_on_cpu(input_table),
            recurrent_on_cpu=array_on_cpu(recurrent),
        )

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.input_table.nbytes + self.recurrent.nbytes


def padded_width(hidden_size: int) -> int:
    """Gives the columns that a state has inside a step.

    >>> padded_width(2), padded_width(256)
    (16, 256)
    """
    return -(-hidden_size // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def factor(rows: int, columns: int) -> Float32[Tensor, "rows columns"]:
    """Gives room for a matrix that few rows are multiplied with, of zeros: column after column.

    So torch's products need not rearrange it each time, which takes half of the time of a product of 4 rows
    with 256 x 1024, and a tenth with 64 rows; with 256 rows it takes nothing.
    """
    return torch.from_numpy(zeros(columns, rows)).T


def weights_nbytes(spec: NetworkSpec) -> int:
    """Gives the size of `draw_weights(spec)` without drawing."""
    width = padded_width(spec.hidden_size)
    return 4 * width * (spec.input_size + width)


def array_on_cpu(rows: Float32[Tensor, "rows columns"]) -> Float32[np.ndarray, "_ columns"]:
    """Gives a tensor's memory as an array, or an array without rows if it isn't on the CPU."""
    return rows.numpy() if rows.device.type == "cpu" else np.empty((0, rows.shape[1]), np.float32)


def draw_weights(spec: NetworkSpec, device: torch.device) -> Weights:
    """Draws what ``torch.manual_seed(seed); torch.nn.RNN(input_size, hidden_size)`` draws, bit for bit.

    Source: torch.nn.RNNBase.reset_parameters: every parameter uniform in +-1/sqrt(hidden_size), in the order
    weight_ih, weight_hh, bias_ih, bias_hh.
    """
    hidden, generator = spec.hidden_size, torch.Generator().manual_seed(spec.seed)
    bound = 1.0 / math.sqrt(hidden)
    weight_ih, weight_hh, bias_ih, bias_hh = (
        torch.empty(shape).uniform_(-bound, bound, generator=generator)
        for shape in ((hidden, spec.input_size), (hidden, hidden), (hidden,), (hidden,))
    )
    if spec.spectral_radius:
        weight_hh = scaled(weight_hh, spec.spectral_radius)
    width = padded_width(hidden)
    input_table = torch.from_numpy(zeros(spec.input_size, width))
    torch.add(weight_ih.T, bias_ih + bias_hh, out=input_table[:, :hidden])
    recurrent = factor(width, width)
    recurrent[:hidden, :hidden] = weight_hh.T
    return Weights.of(input_table=input_table.to(device), recurrent=recurrent.to(device))
