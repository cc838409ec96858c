"""Draws random valid messages and damages them.

It is written for this purpose because a million cases must take only minutes and be equal for equal seeds. It
damages fields, to reach the rules behind the parser, and bytes.
"""

import random
import struct

from unrolled.v1 import forward_pb2 as pb

from tests.fault_injection.contract_rules import texts_of

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
WIRE_TYPES = (VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32, 6, 7)
# Fields of ForwardRequest that are messages, by number.
NESTED = (5, 6, 7)
LETTERS = "aabbcde\u00e9\ud55c\U0001f642"
SENTENCE_WORDS = ("the", "cat", "sat", "dog", "The")
TABLE = "small"
NUMBERS = (0, 1, 2, 3, 7, 8, 9, 16, 17, 64, 65, 127, 128, 255, 1 << 14, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
NUMBERS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - (1 << 31), 1 << 65, (1 << 70) - 1)
DOUBLES = (
    0.0,
    -0.0,
    1.0,
    0.9,
    1e3,
    1000.0000001,
    -1.0,
    1e-320,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
)
FLOATS = (float("nan"), float("inf"), 3e38, -0.0, 1e-45)
BAD_TEXTS = (
    b"\xff",
    b"\xc0\x80",
    b"a\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
    b"\xf8\x88\x80\x80\x80",
)
TEXTS = (
    b"",
    b" ",
    b"\0",
    b"a",
    b"aa",
    b"abc",
    b"Z\x01a",
    "\u00e9".encode(),
    "a\u0301".encode(),
    b"the cat",
    b"x" * 129,
)


def varint(number):
    """Returns a varint: seven bits per byte, lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encoded(fields):
    """Serialises fields: (number, wire type, payload), where payloads of type BYTES have no length."""
    pieces = []
    for number, wire_type, payload in fields:
        pieces.append(varint(number << 3 | wire_type))
        if wire_type == BYTES:
            pieces.append(varint(len(payload)))
        pieces.append(payload)
    return b"".join(pieces)


def fields_of(data):
    """Returns the fields of a valid message without groups."""
    fields, at = [], 0
    while at < len(data):
        tag, at = _varint_at(data, at)
        wire_type, begin = tag & 7, at
        if wire_type == VARINT:
            _, at = _varint_at(data, at)
        elif wire_type == BYTES:
            size, begin = _varint_at(data, at)
            at = begin + size
        else:
            at += {FIXED64: 8, FIXED32: 4}[wire_type]
        fields.append((tag >> 3, wire_type, data[begin:at]))
    return fields


def _varint_at(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


class Mutator:
    """Draws messages; equal seeds draw equal messages.

    Args:
        seed: Seed of all draws.
        digest_of: Returns the digest of a valid request's network, so that some states have the right one.
        corpus_size: Number of valid requests to damage.
        corpus: Other valid messages to damage.
        nested: Fields of `corpus` that are messages.
    """

    def __init__(self, seed, *, digest_of=None, corpus_size=1_500, corpus=None, nested=NESTED):
        self.chance = random.Random(seed)
        self._digest_of = digest_of
        self._nested = nested
        self.corpus = corpus or [self.valid() for _ in range(corpus_size)]
        self._fields = [fields_of(data) for data in self.corpus]

    def message(self):
        """Returns a message with some damage; sometimes with none."""
        chance = self.chance
        fields = list(chance.choice(self._fields))
        if chance.random() < 0.7:
            for _ in range(chance.randint(1, 3)):
                self._damage_fields(fields, self._nested)
        data = encoded(fields)
        return self._damaged_bytes(data) if chance.random() < 0.35 else data

    # Valid requests.

    def valid(self):
        """Returns a request that follows all rules, except that some exceed the limits."""
        chance = self.chance
        request = pb.ForwardRequest(hidden_size=chance.choice((1, 2, 3, 4, 8, 16)))
        has_sentences = chance.random() < 0.25
        is_seq_first = chance.random() < 0.15
        self._write_words(request, has_sentences=has_sentences, is_even=is_seq_first)
        if is_seq_first:
            request.layout = pb.LAYOUT_SEQ_FIRST
        elif chance.random() < 0.3:
            request.output = chance.choice((1, 2, 3, 4))
        if chance.random() < 0.6:
            request.seed = chance.choice((0, 1, -1, 7, 1 << 40, -(1 << 63)))
        if chance.random() < 0.4:
            self._write_network(request.network, request.hidden_size)
        self._write_embedding(request, has_sentences=has_sentences)
        if chance.random() < 0.25 and request.output <= pb.OUTPUT_ALL:
            request.reply_form = chance.choice((1, 2))
        if chance.random() < 0.5:
            request.id = chance.choice(("7", "12345", "\u00e9", "Z\x01a", "x" * 127, "x" * 128))
        request.return_final_state = chance.random() < 0.2
        if chance.random() < 0.2:
            self._write_state(request)
        return request.SerializeToString()

    def _write_words(self, request, *, has_sentences, is_even):
        chance = self.chance
        count, length = chance.randint(1, 4), chance.randint(1, 5)
        for _ in range(count):
            size = length if is_even else chance.randint(1, 5)
            if has_sentences:
                request.words.append(" ".join(chance.choices(SENTENCE_WORDS, k=size)))
            else:
                request.words.append("".join(chance.choices(LETTERS, k=size)))
        if not has_sentences and chance.random() < 0.5:
            request.alphabet = "".join(dict.fromkeys(LETTERS))
            if chance.random() < 0.3:
                request.unknown_symbol = pb.UNKNOWN_SYMBOL_ZERO
                request.words[0] = "z" + request.words[0][1:]
        if not is_even and chance.random() < 0.15:
            request.allow_empty_words = True
            request.words[-1] = " " * has_sentences

    def _write_embedding(self, request, *, has_sentences):
        chance = self.chance
        if has_sentences and chance.random() < 0.5:
            request.embedding.random_word_size = chance.choice((1, 3, 20))
        elif has_sentences:
            request.embedding.vectors = TABLE
            request.embedding.unknown_word = chance.choice((2, 3))
        elif chance.random() < 0.15:
            request.embedding.random_size = chance.choice((1, 2, 5))

    def _write_network(self, network, hidden_size):
        chance = self.chance
        network.cell = chance.choice((0, 1, 2, 3))
        network.bidirectional = chance.random() < 0.3
        if chance.random() < 0.5:
            network.num_layers = chance.choice((1, 2, 3))
        if chance.random() < 0.3:
            network.bias = chance.random() < 0.5
        if network.cell <= pb.CELL_RNN and chance.random() < 0.3:
            network.nonlinearity = chance.choice((1, 2))
        if network.cell == pb.CELL_LSTM and hidden_size > 1 and chance.random() < 0.4:
            network.proj_size = chance.randint(1, hidden_size - 1)
        elif chance.random() < 0.3:
            network.spectral_radius = chance.choice((0.5, 0.9, 1.0, 1e3))
        if network.cell <= pb.CELL_RNN and chance.random() < 0.3:
            setattr(network, chance.choice(("leak_rate", "density")), chance.choice((1e-300, 0.1, 0.5, 1.0)))
            network.input_scaling = chance.choice((1e-50, 0.5, 1.0, 1e3))

    def _write_state(self, request):
        chance, network = self.chance, request.network
        layers = (network.num_layers or 1) * (1 + network.bidirectional)
        has_sentences = request.embedding.vectors or request.embedding.random_word_size
        texts = [text.split() if has_sentences else text for text in request.words]
        batch = len(texts[0]) if request.layout == pb.LAYOUT_SEQ_FIRST else len(texts)
        state = request.initial_state
        sizes = {"h": network.proj_size or request.hidden_size}
        if network.cell == pb.CELL_LSTM:
            sizes["c"] = request.hidden_size
        for name, size in sizes.items():
            getattr(state, f"{name}_shape").extend((layers, batch, size))
            values = [chance.uniform(-1, 1) for _ in range(layers * batch * size)]
            getattr(state, name).extend(values)
        if self._digest_of is not None and chance.random() < 0.5:
            state.network_digest = self._digest_of(request, texts_of(request))

    # Damage to fields.

    def _damage_fields(self, fields, nested):
        chance = self.chance
        kind = chance.randrange(10)
        if kind == 0 or not fields:
            fields.insert(chance.randint(0, len(fields)), self._unknown_field())
            return
        at = chance.randrange(len(fields))
        number, wire_type, payload = fields[at]
        if kind == 1:
            del fields[at]
        elif kind == 2:  # repeated, at the same or another position
            fields.insert(chance.randint(0, len(fields)), fields[at])
        elif kind == 3:  # from another message
            fields.insert(chance.randint(0, len(fields)), chance.choice(chance.choice(self._fields)))
        elif kind == 4:
            fields[at] = (chance.choice((number ^ 1, chance.randint(1, 14), 15, 16)), wire_type, payload)
        elif kind == 5:
            fields[at] = (number, chance.choice(WIRE_TYPES), payload)
        elif kind == 6:
            chance.shuffle(fields)
        elif number in nested and wire_type == BYTES and kind < 9:
            fields[at] = (number, wire_type, self._damaged_message(payload))
        else:
            fields[at] = (number, wire_type, self._other_payload(wire_type, payload))

    def _damaged_message(self, payload):
        try:
            inner = fields_of(payload)
        except (IndexError, KeyError):
            return payload
        self._damage_fields(inner, ())
        return encoded(inner)

    def _unknown_field(self):
        chance = self.chance
        number = chance.choice((16, 17, 99, 18_999, 19_000, (1 << 29) - 1, 0, 1 << 29))
        wire_type = chance.choice((VARINT, FIXED64, BYTES, FIXED32, GROUP, END_GROUP))
        if wire_type == GROUP:
            depth = chance.choice((1, 2, 90, 101, 500))
            whole = chance.random() < 0.7
            opened = varint(number << 3 | GROUP) * (depth - 1)
            return number, GROUP, opened + varint(number << 3 | END_GROUP) * (depth if whole else depth - 1)
        return number, wire_type, self._other_payload(wire_type, b"")

    def _other_payload(self, wire_type, payload):
        chance = self.chance
        if wire_type == BYTES:
            return chance.choice(self._others)(payload)
        if wire_type == FIXED32:
            return chance.randbytes(4)
        if wire_type == FIXED64:
            return struct.pack("<d", chance.choice(DOUBLES))
        return varint(chance.choice(NUMBERS))

    @property
    def _others(self):
        """Returns ways to change the payload of a string, a list or a message."""
        chance = self.chance
        return (
            lambda _: chance.choice(BAD_TEXTS),
            lambda _: chance.choice(TEXTS),
            lambda _: chance.randbytes(chance.randint(0, 12)),
            lambda payload: payload + chance.choice(TEXTS + BAD_TEXTS),
            lambda payload: payload[:-4] + struct.pack("<f", chance.choice(FLOATS)),
            lambda _: varint(chance.choice(NUMBERS)) * chance.randint(1, 4),
            lambda payload: payload[: chance.randint(0, len(payload))],
        )

    def _damaged_bytes(self, data):
        at = self.chance.randint(0, len(data))
        return self.chance.choice(self._breaks)(data, at)

    @property
    def _breaks(self):
        """Returns ways to damage bytes at a position."""
        chance = self.chance
        return (
            lambda data, at: data[:at],
            lambda data, at: data[:at] + chance.randbytes(chance.randint(1, 8)) + data[at:],
            lambda data, at: data[:at] + data[at + chance.randint(1, 8) :],
            self._spliced,
            # A varint of ten bytes, or of eleven, which is too long.
            lambda data, at: data[:at] + b"\xff" * chance.choice((4, 8, 9, 10)) + b"\x01" + data[at:],
            # An overlong varint.
            lambda data, at: data[:at] + bytes([0x80 | (data[at - 1] if at else 0), 0]) + data[at:],
            lambda data, _: self._flipped(data),
        )

    def _spliced(self, data, at):
        """Joins parts of two messages, each cut at a random position."""
        other = self.chance.choice(self.corpus)
        return data[:at] + other[self.chance.randint(0, len(other)) :]

    def _flipped(self, data):
        flipped = bytearray(data)
        for _ in range(self.chance.randint(1, 6) if data else 0):
            bit = self.chance.randrange(8 * len(data))
            flipped[bit >> 3] ^= 1 << (bit & 7)
        return bytes(flipped)
