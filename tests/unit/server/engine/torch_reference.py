"""Random network specifications, and the results of torch's own modules for each word alone."""

import warnings

import numpy as np
import torch
from hypothesis import strategies as st
from unrolled_server.engine import Alphabet, Cell, Job, NetworkSpec, Nonlinearity, WordVectors

ALPHABET = "abcd"
WORDS = st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=9), min_size=1, max_size=12)
# Each letter stands for a word of this table, but the last one for a word that it has not.
TABLE = WordVectors(
    "0123456789abcdef",
    np.random.default_rng(0).standard_normal((len(ALPHABET) - 1, 21), np.float32),
    np.random.default_rng(1).standard_normal(21, np.float32),
)
UNKNOWN = len(ALPHABET) - 1


@st.composite
def specs(draw_from, *, max_radius=1.0):
    """Draws networks of every kind: cells, layers, directions, biases, inputs, spectral radii."""
    cell = draw_from(st.sampled_from(Cell))
    hidden_size = draw_from(st.sampled_from([1, 2, 3, 16, 17, 33, 70]))
    options = {"nonlinearity": draw_from(st.sampled_from(Nonlinearity))} if cell is Cell.RNN else {}
    if cell is Cell.LSTM and hidden_size > 1:
        options["proj_size"] = draw_from(st.integers(0, hidden_size - 1))
    if not options.get("proj_size") and draw_from(st.integers(0, 3)) == 0:
        options["spectral_radius"] = draw_from(st.floats(0.05, max_radius))
    inputs = draw_from(st.sampled_from(["one-hot", "one-hot", "embedding", "vectors"]))
    if inputs == "embedding":
        options["embedding_size"] = draw_from(st.sampled_from([1, 5, 40]))
    if inputs == "vectors":
        options |= {"embedding_size": TABLE.size, "vectors": TABLE.digest}
    return NetworkSpec(
        symbol_count=WordVectors.symbol_count_of(len(TABLE.rows)) if inputs == "vectors" else len(ALPHABET),
        hidden_size=hidden_size,
        seed=draw_from(st.integers(-(2**63), 2**63 - 1)),
        cell=cell,
        num_layers=draw_from(st.integers(1, 3)),
        bidirectional=draw_from(st.booleans()),
        bias=draw_from(st.booleans()),
        **options,
    )


def a_job(spec, words, **changes):
    """Returns a job for words of the alphabet's letters."""
    encoded = Alphabet.of(ALPHABET).encode(words)
    # With vectors a letter's number is its word's, and the last letter is an unknown word.
    return Job(network=spec, words=encoded, **changes)


def torch_modules(spec):
    """Returns (vectors or None, network) as a torch user creates them; an embedding is drawn first."""
    torch.manual_seed(spec.seed)
    vectors = None
    if spec.vectors:
        vectors = torch.from_numpy(np.concatenate([TABLE.rows, np.zeros_like(TABLE.rows[:1]), [TABLE.mean]]))
    elif spec.embedding_size:
        vectors = torch.nn.Embedding(spec.symbol_count, spec.embedding_size).weight.detach()
    kinds = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}
    options = {"num_layers": spec.num_layers, "bias": spec.bias, "bidirectional": spec.bidirectional}
    if spec.cell is Cell.RNN:
        options["nonlinearity"] = spec.nonlinearity.value
    if spec.proj_size:
        options["proj_size"] = spec.proj_size
    network = kinds[spec.cell](spec.input_size, spec.hidden_size, batch_first=True, **options)
    if spec.spectral_radius:
        scale(network, spec.spectral_radius)
    return vectors, network


def scale(network, radius):
    """Scales each square block of recurrent weights to a spectral radius."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("weight_hh"):
                for block in weight.split(weight.shape[1]):
                    largest = np.abs(np.linalg.eigvals(block.double().numpy())).max()
                    block.mul_(float(np.float32(radius / largest)))


def run_torch(modules, word, state=None):
    """Returns outputs (seq, size), h_n and c_n of one word, from its initial (h, c) or zeros."""
    vectors, network = modules
    codes = torch.tensor([[ALPHABET.index(letter) for letter in word]])
    inputs = torch.eye(len(ALPHABET))[codes] if vectors is None else vectors[codes]
    if state is not None:
        h, c = (None if part is None else torch.from_numpy(part)[:, None] for part in state)
        state = h if c is None else (h, c)
    with torch.no_grad(), warnings.catch_warnings():
        # torch says so of its own module, every time.
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        outputs, final = network(inputs, state)
    h_n, c_n = final if isinstance(final, tuple) else (final, None)
    return outputs[0].numpy(), h_n[:, 0].numpy(), None if c_n is None else c_n[:, 0].numpy()
