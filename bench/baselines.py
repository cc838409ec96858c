"""The implementations to compare with, as users write them: one module, one-hot inputs made per request."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from unrolled_server.engine import Cell, NetworkSpec
from workloads import Workload

MODULES = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}
ONNX_GATES = {Cell.RNN: (0,), Cell.LSTM: (0, 3, 1, 2), Cell.GRU: (1, 0, 2)}  # torch's gates in ONNX's order


class OneHot:
    """Turns words into a (batch, seq, input) float32 array with a few numpy calls; zero past a word's end.

    It is vectorised, with a fast path for words of one length, to be fair to the baselines in small requests.
    """

    def __init__(self, alphabet: str, *, seq_first: bool = False) -> None:
        self._code_of = np.zeros(128, np.int64)
        self._code_of[[ord(symbol) for symbol in alphabet]] = np.arange(len(alphabet))
        self._rows = np.eye(len(alphabet) + 1, len(alphabet), dtype=np.float32)
        self._padding = len(alphabet)
        self._seq_first = seq_first

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """Returns the array of `words`."""
        lengths = list(map(len, words))
        letters = self._code_of[np.frombuffer("".join(words).encode(), np.uint8)]
        seq = max(lengths)
        if min(lengths) == seq:
            codes = letters.reshape(len(words), seq)
        else:
            codes = np.full((len(words), seq), self._padding)
            codes[np.arange(seq) < np.array(lengths)[:, None]] = letters
        return self._rows[codes.T if self._seq_first else codes]


def network_of(workload: Workload, **options: Any) -> NetworkSpec:
    """Returns the workload's network: a plain RNN unless options of NetworkSpec say otherwise."""
    symbol_count = len(workload.alphabet)
    return NetworkSpec(
        symbol_count=symbol_count, hidden_size=workload.hidden_size, seed=workload.seed, **options
    )


def drawn_module(spec: NetworkSpec) -> torch.nn.RNNBase:
    """Returns the network as torch draws it."""
    torch.manual_seed(spec.seed)
    options = {"nonlinearity": spec.nonlinearity.value} if spec.cell is Cell.RNN else {}
    return MODULES[spec.cell](
        spec.input_size,
        spec.hidden_size,
        num_layers=spec.num_layers,
        bidirectional=spec.bidirectional,
        batch_first=True,
        **options,
    )


def torch_call(spec: NetworkSpec, workload: Workload) -> Callable[[], object]:
    """Returns a call of local torch.

    It packs words of different lengths if they are sentences, where padding costs more, or run in two
    directions, where the backward one would read the padding first; else it pads.
    """
    module, one_hot = drawn_module(spec), OneHot(workload.alphabet)
    lengths = [len(word) for word in workload.words]
    is_packed = min(lengths) < max(lengths) and (spec.bidirectional or workload.name == "sentences")

    def call() -> object:
        with torch.inference_mode():
            inputs = torch.from_numpy(one_hot(workload.words))
            if not is_packed:
                return module(inputs)[0].numpy()
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                inputs, lengths, batch_first=True, enforce_sorted=False
            )
            return torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)[0].numpy()

    return call


def onnx_call(spec: NetworkSpec, workload: Workload) -> Callable[[], object]:
    """Returns a call of ONNX Runtime's cell with one thread, over padded words."""
    module, one_hot = drawn_module(spec), OneHot(workload.alphabet, seq_first=True)

    def ordered(parameter: torch.Tensor) -> torch.Tensor:
        blocks = parameter.detach().chunk(len(ONNX_GATES[spec.cell]))
        return torch.cat([blocks[gate] for gate in ONNX_GATES[spec.cell]])[None]

    weights = {
        "W": ordered(module.weight_ih_l0),
        "R": ordered(module.weight_hh_l0),
        "B": torch.cat([ordered(module.bias_ih_l0), ordered(module.bias_hh_l0)], 1),
    }
    gru = {"linear_before_reset": 1} if spec.cell is Cell.GRU else {}  # torch's form of the new gate
    node = helper.make_node(spec.cell.name, ["X", *weights], ["Y"], hidden_size=spec.hidden_size, **gru)
    shape = ["seq", "batch", len(workload.alphabet)]
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    return lambda: session.run(None, {"X": one_hot(workload.words)})
