"""Second pass: computes the vectors of a range of the corpus's sorted distinct texts, in an actor.

Sorted texts bring equal beginnings together, so the engine's prefix tree computes each beginning once.
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
    RANDOM_WORD_SYMBOLS,
    Alphabet,
    Cell,
    CoreError,
    EncodedWords,
    Engine,
    Job,
    NetworkSpec,
    Nonlinearity,
    Output,
    WordVectors,
)
from unrolled_server.exit_codes import EXIT_ENGINE
from unrolled_server.word_vectors import VectorTable

from unrolled_corpus.atomic_files import atomic_folder
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.manifest import JobSpec
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.partition import Partition
from unrolled_corpus.scan import TEXTS
from unrolled_corpus.text_rules import TextRules, open_vector_table
from unrolled_corpus.vector_store import COUNTS, RANKS, STARTS, vector_file
from unrolled_corpus.workspace import RECORD

MAX_BATCH_BYTES = 16 << 20
"""Limit of the engine's answer and of its index, unless one text exceeds it."""
_MAX_BATCH_TEXTS = 8_192


class RangeEncoder:
    """Computes ranges with an engine that it verifies first.

    Raises:
        CorpusError: The machine computes other bits than the job's first ones, by their fingerprint, or
            lacks the native core.
    """

    def __init__(
        self, spec: JobSpec, partition: Partition, *, fingerprint: str, state_memory_bytes: int
    ) -> None:
        self._spec, self._partition = spec, partition
        self._table = table = open_vector_table(spec.parameters, digest=spec.vectors_digest)
        self._rules = TextRules(spec.parameters, table)
        vectors = () if table is None else (WordVectors(table.digest, table.rows, table.mean),)
        try:
            self._engine = Engine(device="cpu", state_memory_bytes=state_memory_bytes, vectors=vectors)
            self._engine.verify()
        except CoreError as error:
            raise CorpusError(str(error), exit_code=EXIT_ENGINE) from None
        if self._engine.fingerprint != fingerprint:
            raise CorpusError(
                f"a worker's fingerprint is {self._engine.fingerprint}, the job's is {fingerprint}: it "
                "would compute other bits; install one version of unrolled on all machines",
                exit_code=EXIT_ENGINE,
            )

    def __call__(self, number: int) -> Mapping[str, Any]:
        """Computes one range and returns its record."""
        workspace, engine = self._spec.workspace, self._engine
        slices = [workspace.slice_folder(at) for at in range(self._spec.slice_count)]
        merged = merge_slices(slices, self._partition.bounds(number))
        asked_rows, computed_rows = engine.asked_rows, engine.computed_rows
        with atomic_folder(workspace.range_folder(number)) as folder:
            lengths = np.array(self._rules.lengths(merged.texts), np.int32)
            self._write_vectors(folder, merged.texts, lengths)
            sizes = np.ones_like(lengths) if self._spec.parameters.is_pooled else lengths
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
        parameters = self._spec.parameters
        state_bytes = parameters.width * 4
        text_bytes, symbol_bytes = (state_bytes, 4) if parameters.is_pooled else (0, 4 + state_bytes)
        batches = list(cut_batches(lengths.tolist(), text_bytes=text_bytes, symbol_bytes=symbol_bytes))
        # Seed by seed, so that the engine needs the states of one network only. This encodes the texts once
        # for each seed, because the codes of a whole range would take too much memory to keep.
        for seed in parameters.seed_numbers:
            network = network_spec(parameters, seed, self._partition.alphabet, self._table)
            with vector_file(folder, seed).open("wb") as file:
                for batch in batches:
                    file.write(self._compute(network, texts[batch], lengths[batch]).data)

    def _compute(
        self, network: NetworkSpec, texts: Sequence[str], lengths: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """Returns the vectors of some texts, or all their states without padding."""
        output = Output(self._spec.parameters.output)
        answer = self._engine.run_one(Job(network=network, words=self._encode(texts), output=output))
        if isinstance(answer, Exception):
            raise answer
        if self._spec.parameters.is_pooled:
            return answer.values
        valid: npt.NDArray[np.float32] = answer.values[np.arange(answer.values.shape[1]) < lengths[:, None]]
        return valid

    def _encode(self, texts: Sequence[str]) -> EncodedWords:
        parameters, table = self._spec.parameters, self._table
        if not parameters.reads_sentences:
            allow_unknown = parameters.unknown_symbol == "zero"
            return Alphabet.of(self._partition.alphabet).encode(texts, allow_unknown=allow_unknown)
        sentences = [text.split() for text in texts]
        if table is None:
            return EncodedWords.of_random_words(sentences)
        codes = table.find([word for sentence in sentences for word in sentence])
        # The engine's two symbols after the words: zeros and the mean (see WordVectors).
        codes[codes < 0] = table.word_count + (parameters.unknown_word == "mean")
        lengths = np.fromiter(map(len, sentences), np.int32, len(sentences))
        return EncodedWords.of(codes, lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedRange:
    """The texts of a range, distinct and sorted.

    Attributes:
        ranks: The index in `texts` of each slice's texts, one slice after the other.
        counts: How many texts of each slice are in the range.
    """

    texts: Sequence[str]
    ranks: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


def merge_slices(slices: Sequence[Path], bounds: tuple[str | None, str | None]) -> MergedRange:
    """Returns the distinct texts within the bounds of all slices."""
    runs = [_read_run(folder, bounds) for folder in slices]
    encoded = pa.chunked_array(runs, pa.large_string()).combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return MergedRange(
        texts=encoded.dictionary.take(pa.array(order)).to_pylist(),
        ranks=ranks[encoded.indices.to_numpy()],
        counts=np.array(list(map(len, runs)), np.int64),
    )


def _read_run(folder: Path, bounds: tuple[str | None, str | None]) -> pa.LargeStringArray:
    """Returns a copy of a slice's texts within the bounds, so that the file needn't stay mapped."""
    with pa.memory_map(str(folder / TEXTS)) as file:
        texts = pa.ipc.open_file(file).get_batch(0).column(0)
        position = partial(bisect_left, range(len(texts)), key=lambda at: texts[at].as_py())
        begin = 0 if bounds[0] is None else position(bounds[0])
        end = len(texts) if bounds[1] is None else position(bounds[1])
        return texts.take(pa.array(range(begin, end), pa.int64()))


def cut_batches(lengths: Sequence[int], *, text_bytes: int, symbol_bytes: int) -> Iterator[slice]:
    """Yields consecutive texts whose padded batch takes up to `MAX_BATCH_BYTES`; at least one."""
    begin, longest = 0, 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        count = at + 1 - begin
        is_large = count * (text_bytes + longest * symbol_bytes) > MAX_BATCH_BYTES or count > _MAX_BATCH_TEXTS
        if is_large and count > 1:
            yield slice(begin, at)
            begin, longest = at, length
    if lengths:
        yield slice(begin, len(lengths))


def network_spec(parameters: Parameters, seed: int, alphabet: str, table: VectorTable | None) -> NetworkSpec:
    """Returns the engine's description of the network of one seed."""
    if table is not None:
        symbol_count, embedding_size = WordVectors.symbol_count_of(table.word_count), table.size
    elif parameters.word_embedding_size is not None:
        symbol_count, embedding_size = RANDOM_WORD_SYMBOLS, parameters.word_embedding_size
    else:
        symbol_count, embedding_size = len(alphabet), parameters.embedding_size or 0
    return NetworkSpec(
        symbol_count=symbol_count,
        hidden_size=parameters.hidden_size,
        seed=seed,
        cell=Cell(parameters.cell),
        nonlinearity=Nonlinearity(parameters.nonlinearity),
        num_layers=parameters.num_layers,
        bias=parameters.bias,
        proj_size=parameters.proj_size,
        embedding_size=embedding_size,
        vectors="" if table is None else table.digest,
        bidirectional=parameters.bidirectional,
        spectral_radius=parameters.spectral_radius or 0.0,
        leak_rate=parameters.leak_rate,
        input_scaling=parameters.input_scaling,
        density=parameters.density,
    )
