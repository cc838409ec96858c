"""docs/scaling/figures.json: what was measured and simulated, and what the model takes from it.

A file of its own because it is the seam: whoever measures writes it, whoever tells reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.scaling.costs import Costs
from bench.scaling.language import Language
from bench.scaling.reading import Reading

PATH = Path(__file__).parents[2] / "docs/scaling/figures.json"
FITTED = ("message", "letters", "M", "bytes")  # few bytes, many letters, a small reply, a large one
TRANSPORTS = ("unary", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A request that was measured.

    Attributes:
        letters: Of its words.
        hidden_size: Likewise.
        new_rows: States that weren't known.
        steps: Positions at which they stood.
    """

    letters: int
    hidden_size: int
    new_rows: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of it.

    Attributes:
        taken: When, in words.
        machine: On what, by name.
        idle_nbytes: Of a server process that nobody has asked yet, its own pages.
        network_nbytes: Of a network without words, by hidden size.
        engine: Readings by hidden size.
        service: Readings by probe and transport.
        probes: What was asked.
        corpora: Languages by their count of words.
        simulated: Points of the plots.
    """

    taken: str
    machine: Mapping[str, str]
    idle_nbytes: int
    network_nbytes: Mapping[int, int]
    engine: Mapping[int, Mapping[str, Reading]]
    service: Mapping[str, Mapping[str, Reading]]
    probes: Mapping[str, Probed]
    corpora: Mapping[int, Language]
    simulated: Mapping[str, Any]

    def write(self, path: Path = PATH) -> None:
        """Writes the file."""
        path.write_text(json.dumps(asdict(self), default=_plain, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path = PATH) -> Self:
        """Reads it."""
        found = json.loads(path.read_text())
        return cls(
            taken=found["taken"],
            machine=found["machine"],
            idle_nbytes=found["idle_nbytes"],
            network_nbytes={int(size): nbytes for size, nbytes in found["network_nbytes"].items()},
            engine={int(size): _readings(sides) for size, sides in found["engine"].items()},
            service={name: _readings(sides) for name, sides in found["service"].items()},
            probes={name: Probed(**probe) for name, probe in found["probes"].items()},
            corpora={int(size): Language(**language) for size, language in found["corpora"].items()},
            simulated=found["simulated"],
        )

    def server_s(self, probe: str, transport: str) -> float:
        """Processor seconds of the server for a probe."""
        return self.service[f"{probe}/{transport}"]["server_s"].median

    def reply_nbytes(self, probe: str, transport: str) -> float:
        """Of a probe."""
        return self.service[f"{probe}/{transport}"]["reply_nbytes"].median

    def costs(self) -> Costs:
        """What the model takes: four probes, four equations: a message, a letter, two kinds of bytes."""
        solved = {transport: self._solved(transport) for transport in TRANSPORTS}
        client = {name: self.service[f"{name}/unary"]["client_s"].median for name in ("message", "bytes")}
        return Costs(
            message_s={transport: found[0] for transport, found in solved.items()},
            letter_s=float(np.mean([found[1] for found in solved.values()])),
            byte_s={transport: found[2] for transport, found in solved.items()},
            large_byte_s={transport: found[3] for transport, found in solved.items()},
            small_nbytes=self.reply_nbytes("M", "unary"),
            row_s=self._of_engine("row_s"),
            step_s=self._of_engine("step_s"),
            network_s=self._of_engine("network_s"),
            network_nbytes=self.network_nbytes,
            merged_call_s=self.service["merged"]["server_s"].median,
            client_message_s=self.service["sdk/message"]["client_s"].median,
            client_byte_s=(client["bytes"] - client["message"]) / self.reply_nbytes("bytes", "unary"),
            client_merged_call_s=self.service["merged"]["client_s"].median,
            process_nbytes=self.idle_nbytes,
        )

    def modelled_s(self, probe: str, transport: str) -> float:
        """What the model says of a probe, to be held against what was measured."""
        costs, probed = self.costs(), self.probes[probe]
        known_s = costs.message_s[transport] + probed.letters * costs.letter_s
        sent_s = costs.sending_s(self.reply_nbytes(probe, transport), transport)
        if not probed.new_rows:
            return known_s + sent_s
        size = probed.hidden_size
        return known_s + sent_s + probed.new_rows * costs.row_s[size] + probed.steps * costs.step_s[size]

    def _solved(self, transport: str) -> list[float]:
        """Seconds of a message, a letter, a byte and a byte of a large reply."""
        small_nbytes = self.reply_nbytes("M", transport)
        sizes = []
        for name in FITTED:
            nbytes = self.reply_nbytes(name, transport)
            small = min(nbytes, small_nbytes)
            sizes.append([1, self.probes[name].letters, small, nbytes - small])
        taken = [self.server_s(name, transport) for name in FITTED]
        solved = np.linalg.solve(np.array(sizes), np.array(taken))
        return np.maximum(solved, 0.0).tolist()

    def _of_engine(self, side: str) -> dict[int, float]:
        return {size: sides[side].median for size, sides in self.engine.items()}


def _readings(sides: Mapping[str, Any]) -> dict[str, Reading]:
    return {side: Reading(**reading) for side, reading in sides.items()}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
