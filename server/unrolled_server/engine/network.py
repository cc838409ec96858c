"""One drawn network on its device, and its forward pass over a batch of words."""

import torch
from jaxtyping import Float32, Int64

from unrolled_server.engine import weights
from unrolled_server.engine.spec import NetworkSpec


class Network:
    """h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh), with x_t one-hot.

    A one-hot vector times a matrix is a row of that matrix, so the input product with both biases is a table
    looked up by symbol.
    """

    def __init__(self, spec: NetworkSpec, device: torch.device) -> None:
        drawn = weights.draw(spec)
        table = drawn.weight_ih.T + (drawn.bias_ih + drawn.bias_hh)
        self.hidden_size = spec.hidden_size
        self._device = device
        self._input_table: Float32[torch.Tensor, "symbol hidden"] = table.contiguous().to(device)
        self._recurrent: Float32[torch.Tensor, "hidden hidden"] = drawn.weight_hh.T.contiguous().to(device)

    @torch.inference_mode()
    def forward(self, codes: Int64[torch.Tensor, "batch seq"]) -> Float32[torch.Tensor, "batch seq hidden"]:
        """The hidden state at every position, from zeros; padding is computed like any symbol."""
        batch, seq = codes.shape
        inputs = self._input_table[codes.to(self._device).T]  # (seq, batch, hidden)
        states = torch.empty(batch, seq, self.hidden_size, device=self._device)
        state = inputs.new_zeros(batch, self.hidden_size)
        for position in range(seq):
            state = torch.addmm(inputs[position], state, self._recurrent).tanh_()
            states[:, position] = state
        return states
