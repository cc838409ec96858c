from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Cell(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CELL_UNSPECIFIED: _ClassVar[Cell]
    CELL_RNN: _ClassVar[Cell]
    CELL_LSTM: _ClassVar[Cell]
    CELL_GRU: _ClassVar[Cell]

class Nonlinearity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NONLINEARITY_UNSPECIFIED: _ClassVar[Nonlinearity]
    NONLINEARITY_TANH: _ClassVar[Nonlinearity]
    NONLINEARITY_RELU: _ClassVar[Nonlinearity]

class UnknownSymbol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_SYMBOL_UNSPECIFIED: _ClassVar[UnknownSymbol]
    UNKNOWN_SYMBOL_ERROR: _ClassVar[UnknownSymbol]
    UNKNOWN_SYMBOL_ZERO: _ClassVar[UnknownSymbol]

class UnknownWord(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_WORD_UNSPECIFIED: _ClassVar[UnknownWord]
    UNKNOWN_WORD_ERROR: _ClassVar[UnknownWord]
    UNKNOWN_WORD_ZERO: _ClassVar[UnknownWord]
    UNKNOWN_WORD_MEAN: _ClassVar[UnknownWord]

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_ALL: _ClassVar[Output]
    OUTPUT_LAST: _ClassVar[Output]
    OUTPUT_MEAN: _ClassVar[Output]
    OUTPUT_MAX: _ClassVar[Output]

class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYOUT_UNSPECIFIED: _ClassVar[Layout]
    LAYOUT_BATCH_FIRST: _ClassVar[Layout]
    LAYOUT_SEQ_FIRST: _ClassVar[Layout]

class ReplyForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLY_FORM_UNSPECIFIED: _ClassVar[ReplyForm]
    REPLY_FORM_DENSE: _ClassVar[ReplyForm]
    REPLY_FORM_DISTINCT: _ClassVar[ReplyForm]
CELL_UNSPECIFIED: Cell
CELL_RNN: Cell
CELL_LSTM: Cell
CELL_GRU: Cell
NONLINEARITY_UNSPECIFIED: Nonlinearity
NONLINEARITY_TANH: Nonlinearity
NONLINEARITY_RELU: Nonlinearity
UNKNOWN_SYMBOL_UNSPECIFIED: UnknownSymbol
UNKNOWN_SYMBOL_ERROR: UnknownSymbol
UNKNOWN_SYMBOL_ZERO: UnknownSymbol
UNKNOWN_WORD_UNSPECIFIED: UnknownWord
UNKNOWN_WORD_ERROR: UnknownWord
UNKNOWN_WORD_ZERO: UnknownWord
UNKNOWN_WORD_MEAN: UnknownWord
OUTPUT_UNSPECIFIED: Output
OUTPUT_ALL: Output
OUTPUT_LAST: Output
OUTPUT_MEAN: Output
OUTPUT_MAX: Output
LAYOUT_UNSPECIFIED: Layout
LAYOUT_BATCH_FIRST: Layout
LAYOUT_SEQ_FIRST: Layout
REPLY_FORM_UNSPECIFIED: ReplyForm
REPLY_FORM_DENSE: ReplyForm
REPLY_FORM_DISTINCT: ReplyForm

class ForwardRequest(_message.Message):
    __slots__ = ("words", "hidden_size", "seed", "alphabet", "network", "embedding", "initial_state", "output", "layout", "reply_form", "id", "return_final_state", "same_words", "unknown_symbol", "allow_empty_words")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ALPHABET_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    REPLY_FORM_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RETURN_FINAL_STATE_FIELD_NUMBER: _ClassVar[int]
    SAME_WORDS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_SYMBOL_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EMPTY_WORDS_FIELD_NUMBER: _ClassVar[int]
    words: _containers.RepeatedScalarFieldContainer[str]
    hidden_size: int
    seed: int
    alphabet: str
    network: Network
    embedding: Embedding
    initial_state: State
    output: Output
    layout: Layout
    reply_form: ReplyForm
    id: str
    return_final_state: bool
    same_words: bool
    unknown_symbol: UnknownSymbol
    allow_empty_words: bool
    def __init__(self, words: _Optional[_Iterable[str]] = ..., hidden_size: _Optional[int] = ..., seed: _Optional[int] = ..., alphabet: _Optional[str] = ..., network: _Optional[_Union[Network, _Mapping]] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ..., initial_state: _Optional[_Union[State, _Mapping]] = ..., output: _Optional[_Union[Output, str]] = ..., layout: _Optional[_Union[Layout, str]] = ..., reply_form: _Optional[_Union[ReplyForm, str]] = ..., id: _Optional[str] = ..., return_final_state: _Optional[bool] = ..., same_words: _Optional[bool] = ..., unknown_symbol: _Optional[_Union[UnknownSymbol, str]] = ..., allow_empty_words: _Optional[bool] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("cell", "nonlinearity", "num_layers", "bidirectional", "bias", "proj_size", "spectral_radius", "leak_rate", "input_scaling", "density")
    CELL_FIELD_NUMBER: _ClassVar[int]
    NONLINEARITY_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    BIDIRECTIONAL_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    PROJ_SIZE_FIELD_NUMBER: _ClassVar[int]
    SPECTRAL_RADIUS_FIELD_NUMBER: _ClassVar[int]
    LEAK_RATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCALING_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    cell: Cell
    nonlinearity: Nonlinearity
    num_layers: int
    bidirectional: bool
    bias: bool
    proj_size: int
    spectral_radius: float
    leak_rate: float
    input_scaling: float
    density: float
    def __init__(self, cell: _Optional[_Union[Cell, str]] = ..., nonlinearity: _Optional[_Union[Nonlinearity, str]] = ..., num_layers: _Optional[int] = ..., bidirectional: _Optional[bool] = ..., bias: _Optional[bool] = ..., proj_size: _Optional[int] = ..., spectral_radius: _Optional[float] = ..., leak_rate: _Optional[float] = ..., input_scaling: _Optional[float] = ..., density: _Optional[float] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("random_size", "vectors", "random_word_size", "unknown_word")
    RANDOM_SIZE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    RANDOM_WORD_SIZE_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORD_FIELD_NUMBER: _ClassVar[int]
    random_size: int
    vectors: str
    random_word_size: int
    unknown_word: UnknownWord
    def __init__(self, random_size: _Optional[int] = ..., vectors: _Optional[str] = ..., random_word_size: _Optional[int] = ..., unknown_word: _Optional[_Union[UnknownWord, str]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("h", "h_shape", "c", "c_shape", "network_digest")
    H_FIELD_NUMBER: _ClassVar[int]
    H_SHAPE_FIELD_NUMBER: _ClassVar[int]
    C_FIELD_NUMBER: _ClassVar[int]
    C_SHAPE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_DIGEST_FIELD_NUMBER: _ClassVar[int]
    h: _containers.RepeatedScalarFieldContainer[float]
    h_shape: _containers.RepeatedScalarFieldContainer[int]
    c: _containers.RepeatedScalarFieldContainer[float]
    c_shape: _containers.RepeatedScalarFieldContainer[int]
    network_digest: str
    def __init__(self, h: _Optional[_Iterable[float]] = ..., h_shape: _Optional[_Iterable[int]] = ..., c: _Optional[_Iterable[float]] = ..., c_shape: _Optional[_Iterable[int]] = ..., network_digest: _Optional[str] = ...) -> None: ...

class ForwardReply(_message.Message):
    __slots__ = ("values", "shape", "lengths", "index", "final_state", "id", "timing", "fingerprint", "error")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FINAL_STATE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    shape: _containers.RepeatedScalarFieldContainer[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    index: _containers.RepeatedScalarFieldContainer[int]
    final_state: State
    id: str
    timing: Timing
    fingerprint: str
    error: RequestError
    def __init__(self, values: _Optional[_Iterable[float]] = ..., shape: _Optional[_Iterable[int]] = ..., lengths: _Optional[_Iterable[int]] = ..., index: _Optional[_Iterable[int]] = ..., final_state: _Optional[_Union[State, _Mapping]] = ..., id: _Optional[str] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., fingerprint: _Optional[str] = ..., error: _Optional[_Union[RequestError, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_s", "compute_s")
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    queue_s: float
    compute_s: float
    def __init__(self, queue_s: _Optional[float] = ..., compute_s: _Optional[float] = ...) -> None: ...

class RequestError(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoReply(_message.Message):
    __slots__ = ("version", "torch_version", "device", "fingerprint", "limits", "vectors", "instruction_set")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_SET_FIELD_NUMBER: _ClassVar[int]
    version: str
    torch_version: str
    device: str
    fingerprint: str
    limits: Limits
    vectors: _containers.RepeatedCompositeFieldContainer[Vectors]
    instruction_set: str
    def __init__(self, version: _Optional[str] = ..., torch_version: _Optional[str] = ..., device: _Optional[str] = ..., fingerprint: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., vectors: _Optional[_Iterable[_Union[Vectors, _Mapping]]] = ..., instruction_set: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_words", "max_word_length", "max_hidden_size", "max_alphabet_size", "max_request_bytes", "max_reply_bytes")
    MAX_WORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_WORD_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_ALPHABET_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLY_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_words: int
    max_word_length: int
    max_hidden_size: int
    max_alphabet_size: int
    max_request_bytes: int
    max_reply_bytes: int
    def __init__(self, max_words: _Optional[int] = ..., max_word_length: _Optional[int] = ..., max_hidden_size: _Optional[int] = ..., max_alphabet_size: _Optional[int] = ..., max_request_bytes: _Optional[int] = ..., max_reply_bytes: _Optional[int] = ...) -> None: ...

class Vectors(_message.Message):
    __slots__ = ("name", "word_count", "size", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    word_count: int
    size: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., word_count: _Optional[int] = ..., size: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...
