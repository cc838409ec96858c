"""The implementations to compare with, as users write them: one module, one-hot inputs made per request."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from workloads import Workload


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


def drawn_module(workload: Workload, *, batch_first: bool = True) -> torch.nn.RNN:
    """Returns the network of the workload as torch draws it."""
    torch.manual_seed(workload.seed)
    return torch.nn.RNN(len(workload.alphabet), workload.hidden_size, batch_first=batch_first)


def torch_call(workload: Workload) -> Callable[[], object]:
    """Returns a call of local torch."""
    module, one_hot = drawn_module(workload), OneHot(workload.alphabet)

    def call() -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(one_hot(workload.words)))[0].numpy()

    return call


def onnx_call(workload: Workload) -> Callable[[], object]:
    """Returns a call of ONNX Runtime's RNN with one thread."""
    module, one_hot = drawn_module(workload), OneHot(workload.alphabet, seq_first=True)
    weights = {
        "W": module.weight_ih_l0[None],
        "R": module.weight_hh_l0[None],
        "B": torch.cat([module.bias_ih_l0, module.bias_hh_l0])[None],
    }
    shape = ["seq", "batch", len(workload.alphabet)]
    graph = helper.make_graph(
        [helper.make_node("RNN", ["X", "W", "R", "B"], ["Y"], hidden_size=workload.hidden_size)],
        "rnn",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value.detach().numpy(), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    return lambda: session.run(None, {"X": one_hot(workload.words)})
