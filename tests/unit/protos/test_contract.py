"""The contract keeps its field numbers, so that clients and servers of any version can talk."""

from google.protobuf.descriptor import FieldDescriptor
from unrolled.v1 import forward_pb2, forward_pb2_grpc

# A line here may be added, never changed or removed.
FIELD_NUMBERS = {
    "ForwardRequest": {
        "words": 1,
        "hidden_size": 2,
        "seed": 3,
        "alphabet": 4,
        "network": 5,
        "embedding": 6,
        "initial_state": 7,
        "output": 8,
        "layout": 9,
        "reply_form": 10,
        "id": 11,
        "return_final_state": 12,
        "same_words": 13,
        "unknown_symbol": 14,
        "allow_empty_words": 15,
    },
    "Network": {
        "cell": 1,
        "nonlinearity": 2,
        "num_layers": 3,
        "bidirectional": 4,
        "bias": 5,
        "proj_size": 6,
        "spectral_radius": 7,
        "leak_rate": 8,
        "input_scaling": 9,
        "density": 10,
    },
    "Embedding": {"random_size": 1, "vectors": 2, "unknown_word": 3, "random_word_size": 4},
    "State": {"h": 1, "h_shape": 2, "c": 3, "c_shape": 4, "network_digest": 5},
    "ForwardReply": {
        "values": 1,
        "shape": 2,
        "lengths": 3,
        "index": 4,
        "final_state": 5,
        "id": 6,
        "timing": 7,
        "fingerprint": 8,
        "error": 9,
    },
    "Timing": {"queue_s": 1, "compute_s": 2},
    "RequestError": {"code": 1, "message": 2, "details": 3},
    "GetServerInfoRequest": {},
    "GetServerInfoReply": {
        "version": 1,
        "torch_version": 2,
        "device": 3,
        "fingerprint": 4,
        "limits": 5,
        "vectors": 6,
        "instruction_set": 7,
    },
    "Limits": {
        "max_words": 1,
        "max_word_length": 2,
        "max_hidden_size": 3,
        "max_alphabet_size": 4,
        "max_request_bytes": 5,
        "max_reply_bytes": 6,
    },
    "Vectors": {"name": 1, "word_count": 2, "size": 3, "digest": 4},
}

# Every enum's values, numbered from zero.
ENUM_VALUES = {
    "Cell": ["CELL_UNSPECIFIED", "CELL_RNN", "CELL_LSTM", "CELL_GRU"],
    "Nonlinearity": ["NONLINEARITY_UNSPECIFIED", "NONLINEARITY_TANH", "NONLINEARITY_RELU"],
    "UnknownWord": [
        "UNKNOWN_WORD_UNSPECIFIED",
        "UNKNOWN_WORD_ERROR",
        "UNKNOWN_WORD_ZERO",
        "UNKNOWN_WORD_MEAN",
    ],
    "UnknownSymbol": ["UNKNOWN_SYMBOL_UNSPECIFIED", "UNKNOWN_SYMBOL_ERROR", "UNKNOWN_SYMBOL_ZERO"],
    "Output": ["OUTPUT_UNSPECIFIED", "OUTPUT_ALL", "OUTPUT_LAST", "OUTPUT_MEAN", "OUTPUT_MAX"],
    "Layout": ["LAYOUT_UNSPECIFIED", "LAYOUT_BATCH_FIRST", "LAYOUT_SEQ_FIRST"],
    "ReplyForm": ["REPLY_FORM_UNSPECIFIED", "REPLY_FORM_DENSE", "REPLY_FORM_DISTINCT"],
}

LENGTH_DELIMITED = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}


def test_field_numbers_are_fixed():
    """A renumbered or renamed field fails here before it breaks a client."""
    messages = forward_pb2.DESCRIPTOR.message_types_by_name

    assert {
        name: {field.name: field.number for field in message.fields} for name, message in messages.items()
    } == FIELD_NUMBERS


def test_enum_numbers_are_fixed():
    """Every enum has the values listed here, in that order and numbered from zero."""
    enums = forward_pb2.DESCRIPTOR.enum_types_by_name

    assert {name: {value.name: value.number for value in enum.values} for name, enum in enums.items()} == {
        name: {value: number for number, value in enumerate(values)} for name, values in ENUM_VALUES.items()
    }


def test_the_proto_file_imports_only_protobufs_own_files():
    """Every protobuf installation contains these imports."""
    imported = [file.name for file in forward_pb2.DESCRIPTOR.dependencies]

    assert all(name.startswith("google/protobuf/") for name in imported), imported


def test_every_field_of_a_reply_is_length_delimited_and_small():
    """wire.py reads a reply's fields in one form: a tag of one byte, a length, that many bytes."""
    other_forms = [
        field.name
        for field in forward_pb2.ForwardReply.DESCRIPTOR.fields
        if field.number > 15 or not (field.is_packed or field.type in LENGTH_DELIMITED)
    ]

    assert not other_forms


def test_the_service_has_its_three_methods():
    """The generated stubs import and have the methods under their public names."""
    service = forward_pb2.DESCRIPTOR.services_by_name["ForwardService"]

    assert service.full_name == "unrolled.v1.ForwardService"
    assert [method.name for method in service.methods] == ["Forward", "ForwardStream", "GetServerInfo"]
    assert all(hasattr(forward_pb2_grpc.ForwardServiceServicer, method.name) for method in service.methods)
