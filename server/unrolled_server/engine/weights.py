"""The plain network's parameters as its steps use them; their place in memory affects bits and speed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.draws import draw
from unrolled_server.engine.memory import zeros
from unrolled_server.engine.spec import NetworkSpec

# Matrix products over widths that are a multiple of 16 give a row the same bits at every position.
WIDTH_MULTIPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A network's weights, zero-padded to ``width`` columns, and the same memory as arrays on the CPU.

    Row s of ``input_table`` is W_ih[:, s] + b_ih + b_hh, so no input is multiplied; ``recurrent`` is W_hh.T.
    """

    input_table: Float32[Tensor, "symbols width"]
    recurrent: Float32[Tensor, "width width"]
    input_rows_on_cpu: Float32[np.ndarray, "_ width"]
    recurrent_on_cpu: Float32[np.ndarray, "_ width"]

    @staticmethod
    def of(
        *, input_table: Float32[Tensor, "symbols width"], recurrent: Float32[Tensor, "width width"]
    ) -> "Weights":
        return Weights(
            input_table=input_table,
            recurrent=recurrent,
            input_rows_on_cpu=array_on_cpu(input_table),
            recurrent_on_cpu=array_on_cpu(recurrent),
        )


def padded_width(hidden_size: int) -> int:
    """Returns the columns of a state inside a step.

    >>> padded_width(2), padded_width(256)
    (16, 256)
    """
    return -(-hidden_size // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def factor(rows: int, columns: int) -> Float32[Tensor, "rows columns"]:
    """Returns a zero matrix, column after column, for products with few rows.

    torch's products then need not rearrange it each time, which takes half of the time of a product of 4 rows
    with 256 x 1024, a tenth with 64 rows, and nothing with 256 rows.
    """
    return torch.from_numpy(zeros(columns, rows)).T


def weights_nbytes(spec: NetworkSpec) -> int:
    """Returns the size of `draw_weights(spec)` without drawing."""
    width = padded_width(spec.hidden_size)
    return 4 * width * (spec.input_size + width)


def array_on_cpu(rows: Float32[Tensor, "rows columns"]) -> Float32[np.ndarray, "_ columns"]:
    """Returns a tensor's memory as an array, or an array without rows if it is not on the CPU."""
    return rows.numpy() if rows.device.type == "cpu" else np.empty((0, rows.shape[1]), np.float32)


def draw_weights(spec: NetworkSpec, device: torch.device) -> Weights:
    """Draws a plain network's parameters, see `draw`, and lays them out."""
    ((drawn,),) = draw(spec).layers
    assert drawn.bias_ih is not None  # noqa: S101 - a plain network has biases
    assert drawn.bias_hh is not None  # noqa: S101
    hidden, width = spec.hidden_size, padded_width(spec.hidden_size)
    input_table = torch.from_numpy(zeros(spec.input_size, width))
    torch.add(drawn.weight_ih.T, drawn.bias_ih + drawn.bias_hh, out=input_table[:, :hidden])
    recurrent = factor(width, width)
    recurrent[:hidden, :hidden] = drawn.weight_hh.T
    return Weights.of(input_table=input_table.to(device), recurrent=recurrent.to(device))
