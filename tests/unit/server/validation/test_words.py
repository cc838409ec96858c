"""With word vectors each text is a sentence, whose words are the symbols of the network."""

import numpy as np
import pytest
import torch
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.engine import Engine, WordVectors
from unrolled_server.errors import InvalidRequestError
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator
from unrolled_server.validation.words import RequestWords, encode_words
from unrolled_server.word_vectors import open_vectors

LIMITS = Settings(max_words=3, max_word_length=4).limits()
VECTORS = {"the": [0.5, -1.0, 2.0], "cat": [0.25, 0.0, -0.75], "sat": [1.5, 0.125, 0.0]}
ZERO, MEAN = pb.UNKNOWN_WORD_ZERO, pb.UNKNOWN_WORD_MEAN


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("vectors")
    source = directory / "small.txt"
    source.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in VECTORS.items()))
    return {"small": open_vectors("small", source, cache_directory=directory)}


def accepted(tables, *words, unknown_word=0, name="small", **changes):
    embedding = pb.Embedding(vectors=name, unknown_word=unknown_word)
    request = pb.ForwardRequest(words=words, hidden_size=2, embedding=embedding, **changes)
    return RequestValidator(LIMITS, tables).validate(request.SerializeToString())


def symbols_of(tables, *words, **changes):
    encoded = accepted(tables, *words, **changes).job.words
    return encoded.codes.tolist(), encoded.lengths.tolist()


def test_sentences_are_split_at_any_white_space_and_words_are_not_changed(tables):
    assert symbols_of(tables, "the cat", " sat\tthe\u2003cat\n") == ([0, 1, 2, 0, 1], [2, 3])
    with pytest.raises(InvalidRequestError, match="'Cat'"):
        accepted(tables, "the Cat")


def test_unknown_words_get_the_zero_vector_the_mean_or_an_error_that_names_them(tables):
    assert symbols_of(tables, "a cat", unknown_word=ZERO)[0] == [3, 1]
    assert symbols_of(tables, "a cat", unknown_word=MEAN)[0] == [4, 1]
    with pytest.raises(InvalidRequestError) as failure:
        accepted(tables, "the cat", "the dog")
    (violation,) = failure.value.violations
    assert violation.field == "words[1]"
    assert "'dog' at position 1, which the vectors 'small' don't have" in violation.description
    assert 'unknown_word="zero" or "mean"' in violation.description


def test_the_networks_key_depends_on_the_content_of_the_table_not_on_its_name(tables):
    renamed = {"other": tables["small"]}
    digest = accepted(tables, "cat").job.network.digest
    assert accepted(renamed, "cat", name="other").job.network.digest == digest
    assert accepted(tables, "cat", unknown_word=MEAN).job.network.digest == digest


def a_job(*words, embedding=None, tables=None, **changes):
    request = pb.ForwardRequest(words=words, hidden_size=2, embedding=embedding, **changes)
    return RequestValidator(LIMITS, tables or {}).validate(request.SerializeToString()).job


def test_letters_that_the_alphabet_lacks_may_be_zeros():
    zero = {"unknown_symbol": pb.UNKNOWN_SYMBOL_ZERO}
    assert a_job("abx", "\ud55ca", alphabet="ab", **zero).words.codes.tolist() == [0, 1, 2, 2, 0]
    assert a_job("ab", "ba", **zero).network == a_job("ab", "ba").network
    with pytest.raises(InvalidRequestError, match='add it, or ask for unknown_symbol="skip"'):
        a_job("abx", alphabet="ab", unknown_symbol=pb.UNKNOWN_SYMBOL_ERROR)


@pytest.mark.parametrize(
    "embedding", [None, pb.Embedding(random_word_size=3), pb.Embedding(vectors="small", unknown_word=ZERO)]
)
def test_words_may_be_empty_on_request(tables, embedding):
    empty = " \t" if embedding else ""
    for words in (["a", empty], [empty, empty]):
        job = a_job(*words, embedding=embedding, tables=tables, allow_empty_words=True)
        assert job.words.lengths.tolist() == [len(word.split()) for word in words]
        with pytest.raises(InvalidRequestError, match=r'is empty; .*; drop it, or ask for on_empty="zero"'):
            a_job(*words, embedding=embedding, tables=tables)


def test_empty_words_do_not_go_with_seq_first():
    for words in (["a", "b"], ["", ""], ["a", ""]):
        with pytest.raises(InvalidRequestError) as failure:
            a_job(*words, allow_empty_words=True, layout=pb.LAYOUT_SEQ_FIRST)
        assert failure.value.violations[0].field == "allow_empty_words"
        assert 'on_empty is "zero", and layout="seq_first"' in failure.value.violations[0].description


def test_words_with_random_vectors_are_hashes_that_need_no_table():
    embedding = pb.Embedding(random_word_size=3)
    job, other = (a_job(*words, embedding=embedding) for words in (["the cat"], ["sat", "cat the"]))
    assert job.words.codes.tolist() == other.words.codes.tolist()[:0:-1]
    assert job.network == other.network
    assert job.network.digest != a_job("ab", embedding=pb.Embedding(random_size=3)).network.digest


def test_words_that_requests_share_are_encoded_by_each_requests_rules(tables):
    words = RequestWords(["cat the", "xc"], "cathe ")
    rules = [
        pb.ForwardRequest(unknown_symbol=ZERO),
        pb.ForwardRequest(embedding=pb.Embedding(random_size=3), unknown_symbol=ZERO),
        pb.ForwardRequest(embedding=pb.Embedding(random_word_size=3)),
        pb.ForwardRequest(embedding=pb.Embedding(vectors="small", unknown_word=ZERO)),
        pb.ForwardRequest(embedding=pb.Embedding(vectors="small", unknown_word=MEAN)),
    ]
    found = [encode_words(rule, words, rule.embedding, tables=tables) for rule in rules]
    assert found[0] is found[1]
    assert len({each.symbols for each in found}) == len(words.encoded) == 4
    with pytest.raises(InvalidRequestError, match="'x' at position 0"):
        encode_words(pb.ForwardRequest(), words, None, tables=tables)


RANDOM = pb.Embedding(random_word_size=3)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        (
            {"embedding": RANDOM, "alphabet": "a"},
            "alphabet",
            "with word_embedding_size the symbols",
        ),
        (
            {"embedding": RANDOM, "unknown_symbol": pb.UNKNOWN_SYMBOL_ZERO},
            "unknown_symbol",
            'unknown_symbol is "zero", which is for letters, and with word_embedding_size the symbols',
        ),
        (
            {"embedding": pb.Embedding(random_word_size=3, unknown_word=ZERO)},
            "embedding.unknown_word",
            "unknown_word is for word vectors",
        ),
        (
            {"embedding": pb.Embedding(random_word_size=0)},
            "embedding.random_word_size",
            "word_embedding_size is 0; this server allows 1 to 4096, as for hidden_size",
        ),
        (
            {"embedding": pb.Embedding(random_word_size=4097)},
            "embedding.random_word_size",
            "word_embedding_size is 4097",
        ),
        ({"embedding": RANDOM, "words": ["a b c d e"]}, "words[0]", "words[0] has 5 symbols"),
    ],
)
def test_an_error_of_random_vectors_has_value_limit_and_remedy(changes, field, says):
    with pytest.raises(InvalidRequestError) as failure:
        a_job(*changes.pop("words", ["cat"]), **changes)
    (violation,) = failure.value.violations
    assert violation.field == field
    assert says in violation.description


@pytest.mark.parametrize(
    ("words", "changes", "field", "says"),
    [
        (["cat"], {"name": "large"}, "embedding.vectors", "'large'; this server has 'small'"),
        (["cat"], {"alphabet": "cat"}, "alphabet", "symbols are words; leave it out"),
        (["cat", " \t"], {}, "words[1]", "words[1] is empty; with vectors a text has at least"),
        (["cat " * 5], {}, "words[0]", "words[0] has 5 symbols; this server allows 4"),
        (["cat"] * 4, {}, "words", "4 entries; this server allows 3"),
        (["cat", "the cat"], {"layout": pb.LAYOUT_SEQ_FIRST}, "layout", "1 to 2 symbols"),
    ],
)
def test_an_error_has_value_limit_and_remedy(tables, words, changes, field, says):
    with pytest.raises(InvalidRequestError) as failure:
        accepted(tables, *words, **changes)
    (violation,) = failure.value.violations
    assert violation.field == field
    assert says in violation.description


def test_the_error_of_a_server_without_vectors_names_the_remedy():
    with pytest.raises(InvalidRequestError, match="'small'; this server has none; it was started without"):
        accepted({}, "cat")


def test_states_match_torch_with_the_vectors(tables):
    """Known words, the zero vector and the mean, in both layouts."""
    table = tables["small"]
    engine = Engine(device="cpu", vectors=[WordVectors(table.digest, table.rows, table.mean)])
    torch.manual_seed(5)
    network = torch.nn.LSTM(3, 2, bidirectional=True, batch_first=True)
    inputs = np.array(
        [[VECTORS["the"], VECTORS["cat"]], [np.mean(list(VECTORS.values()), 0), VECTORS["sat"]]]
    )
    options = {
        "unknown_word": MEAN,
        "seed": 5,
        "network": pb.Network(cell=pb.CELL_LSTM, bidirectional=True),
    }
    for layout, order in ((pb.LAYOUT_BATCH_FIRST, (0, 1, 2)), (pb.LAYOUT_SEQ_FIRST, (1, 0, 2))):
        job = accepted(tables, "the cat", "a sat", layout=layout, **options).job
        (answer,) = engine.run([job])
        with torch.no_grad():
            expected = network(torch.tensor(inputs, dtype=torch.float32).permute(order))[0].permute(order)
        np.testing.assert_allclose(answer.values, expected.numpy(), atol=2e-6)
