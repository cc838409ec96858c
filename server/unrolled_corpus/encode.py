"""The second pass: a range of the corpus's sorted distinct texts to their vectors, in an actor.

A file of its own because here alone torch is loaded. Texts come sorted, so that texts with one beginning come
together and the engine's tree computes each beginning once.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from unrolled_server.engine import (
    Alphabet,
    Cell,
    EncodedWords,
    Engine,
    Job,
    NetworkSpec,
    Nonlinearity,
    Output,
    ProofError,
    WordVectors,
)
from unrolled_server.exit_codes import EXIT_PROOF
from unrolled_server.word_vectors import VectorTable

from unrolled_corpus.atomic_files import whole_folder
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.partition import Ranges
from unrolled_corpus.scan import TEXTS
from unrolled_corpus.text_rules import open_table, symbols_of
from unrolled_corpus.vector_store import COUNTS, RANKS, STARTS, vector_file
from unrolled_corpus.workspace import RECORD

BATCH_BYTES = 16 << 20
"""Of an engine's answer and of its index, at most, unless one text alone takes more."""
_MAX_BATCH_TEXTS = 8_192


class Encoder:
    """Computes ranges. Its engine is proved before it takes the first.

    Args:
        ranges: What it works on.
        fingerprint: That of all other engines of the job.
        state_memory_bytes: See `Engine`.

    Raises:
        ProofError: This machine can't keep the bits promise.
        CorpusError: This machine computes other bits than those that the job began with.
    """

    def __init__(self, ranges: Ranges, *, fingerprint: str, state_memory_bytes: int) -> None:
        self._ranges = ranges
        self._table = open_table(ranges.parameters, digest=ranges.vectors_digest)
        self._symbols = symbols_of(ranges.parameters, self._table)
        self._engine = Engine(
            device="cpu", state_memory_bytes=state_memory_bytes, vectors=_word_vectors(self._table)
        )
        self._engine.prove()
        if self._engine.fingerprint != fingerprint:
            raise CorpusError(
                f"a worker's fingerprint is {self._engine.fingerprint}, the job's is {fingerprint}: it "
                "would compute other bits; use machines of one kind, with the same torch",
                exit_code=EXIT_PROOF,
            )

    def __call__(self, number: int) -> Mapping[str, Any]:
        """Computes one range and gives its record.

        Raises:
            OSError: A file cannot be read or written.
        """
        ranges, engine = self._ranges, self._engine
        merged = merge(ranges, number)
        asked_rows, computed_rows = engine.asked_rows, engine.computed_rows
        with whole_folder(ranges.work.range(number)) as folder:
            lengths = np.zeros(0, np.int32)
            if merged.texts:
                lengths = np.array(self._symbols.lengths(merged.texts), np.int32)
                self._write_vectors(folder, merged.texts, lengths)
            sizes = np.ones_like(lengths) if ranges.parameters.is_pooled else lengths
            np.save(folder / STARTS, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]))
            np.save(folder / RANKS, merged.ranks)
            np.save(folder / COUNTS, merged.counts)
            record = {
                "texts": len(merged.texts),
                "asked_rows": engine.asked_rows - asked_rows,
                "computed_rows": engine.computed_rows - computed_rows,
                "fingerprint": engine.fingerprint,
            }
            (folder / RECORD).write_text(json.dumps(record))
        return record

    def _write_vectors(self, folder: Path, texts: Sequence[str], lengths: npt.NDArray[np.int32]) -> None:
        parameters = self._ranges.parameters
        width = parameters.width * 4
        text_bytes, symbol_bytes = (width, 4) if parameters.is_pooled else (0, 4 + width)
        parts = list(cut(lengths.tolist(), text_bytes=text_bytes, symbol_bytes=symbol_bytes))
        # Seed by seed, so that one network's states are all that the engine needs; what that costs is to
        # encode the texts for each, of which the numbers of a whole range would take too much memory to keep.
        for seed in parameters.seeds:
            spec = spec_of(parameters, seed, self._ranges.plan.alphabet, self._table)
            with vector_file(folder, seed).open("wb") as file:
                for part in parts:
                    file.write(self._values(spec, texts[part], lengths[part]).data)

    def _values(
        self, spec: NetworkSpec, texts: Sequence[str], lengths: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """The vectors of some texts, or all their states without the padding."""
        words = _encode(self._ranges, self._table, texts)
        answer = next(
            self._engine.run([Job(network=spec, words=words, output=Output(self._ranges.parameters.output))])
        )
        if isinstance(answer, Exception):
            raise answer
        if self._ranges.parameters.is_pooled:
            return answer.values
        valid: npt.NDArray[np.float32] = answer.values[np.arange(answer.values.shape[1]) < lengths[:, None]]
        return valid


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The texts of a range.

    Attributes:
        texts: Distinct, sorted.
        ranks: For each slice, one after the other, the place of each of its texts among those.
        counts: How many of each slice.
    """

    texts: Sequence[str]
    ranks: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


def merge(ranges: Ranges, number: int) -> Merged:
    """The range's texts of all slices, each once."""
    bounds = ranges.plan.bounds(number)
    runs = [_run(ranges.work.slice(at), bounds) for at in range(ranges.slice_count)]
    coded = pa.chunked_array(runs, pa.large_string()).combine_chunks().dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return Merged(
        texts=coded.dictionary.take(pa.array(order)).to_pylist(),
        ranks=ranks[coded.indices.to_numpy()],
        counts=np.array(list(map(len, runs)), np.int64),
    )


def _run(folder: Path, bounds: tuple[str | None, str | None]) -> pa.LargeStringArray:
    """A slice's texts within the bounds; copied, so that the file need not stay mapped."""
    with pa.memory_map(str(folder / TEXTS)) as file:
        texts = pa.ipc.open_file(file).get_batch(0).column(0)
        place = partial(bisect_left, range(len(texts)), key=lambda at: texts[at].as_py())
        low = 0 if bounds[0] is None else place(bounds[0])
        high = len(texts) if bounds[1] is None else place(bounds[1])
        return texts.take(pa.array(range(low, high), pa.int64()))


def cut(lengths: Sequence[int], *, text_bytes: int, symbol_bytes: int) -> Iterator[slice]:
    """Consecutive texts whose padded batch takes up to `BATCH_BYTES`; at least one."""
    begin, longest = 0, 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        count = at + 1 - begin
        too_large = count * (text_bytes + longest * symbol_bytes) > BATCH_BYTES or count > _MAX_BATCH_TEXTS
        if too_large and count > 1:
            yield slice(begin, at)
            begin, longest = at, length
    if lengths:
        yield slice(begin, len(lengths))


def spec_of(parameters: Parameters, seed: int, alphabet: str, table: VectorTable | None) -> NetworkSpec:
    """The network of one seed."""
    return NetworkSpec(
        symbol_count=len(alphabet) if table is None else WordVectors.symbol_count_of(table.word_count),
        hidden_size=parameters.hidden_size,
        seed=seed,
        cell=Cell(parameters.cell),
        nonlinearity=Nonlinearity(parameters.nonlinearity),
        num_layers=parameters.num_layers,
        bias=parameters.bias,
        proj_size=parameters.proj_size,
        embedding_size=(parameters.embedding_size or 0) if table is None else table.size,
        vectors="" if table is None else table.digest,
        bidirectional=parameters.bidirectional,
        spectral_radius=parameters.spectral_radius or 0.0,
    )


def _encode(ranges: Ranges, table: VectorTable | None, texts: Sequence[str]) -> EncodedWords:
    if table is None:
        return Alphabet.of(ranges.plan.alphabet).encode(texts)
    sentences = [text.split() for text in texts]
    codes = table.find([word for sentence in sentences for word in sentence])
    # The engine's two symbols after those of the words: see WordVectors.
    codes[codes < 0] = table.word_count + (ranges.parameters.unknown_word == "mean")
    lengths = np.fromiter(map(len, sentences), np.int32, len(sentences))
    return EncodedWords(texts, table.digest, codes=codes, lengths=lengths)


def _word_vectors(table: VectorTable | None) -> tuple[WordVectors, ...]:
    if table is None:
        return ()
    return (WordVectors(table.digest, table.rows, table.mean),)


def make_encoder(ranges: Ranges, *, fingerprint: str, state_memory_bytes: int) -> Encoder:
    """An encoder, whose errors are told as a job's are.

    Raises:
        CorpusError: See `Encoder`.
    """
    try:
        return Encoder(ranges, fingerprint=fingerprint, state_memory_bytes=state_memory_bytes)
    except ProofError as error:
        raise CorpusError(str(error), exit_code=EXIT_PROOF) from None
