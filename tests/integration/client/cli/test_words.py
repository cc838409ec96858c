"""Words of real text: left out, cut or tokenized before they are run, as the options say."""

import json
from functools import partial

import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply


@pytest.fixture
def run_on_words(serve, run):
    """Runs the command against a server that cuts at four symbols; returns the request's words, and the run.

    States are ones.
    """
    asked = []

    def answer(data, _context):
        request = pb.ForwardRequest.FromString(data)
        if not request.words:
            limits = pb.Limits(max_words=100, max_word_length=4, max_reply_bytes=1 << 20)
            return pb.GetServerInfoReply(limits=limits).SerializeToString()
        asked.append(list(request.words))
        is_sentence = request.HasField("embedding")
        lengths = [len(word.split() if is_sentence else word) for word in request.words]
        shape = (len(lengths), max(lengths), request.hidden_size)
        is_state = np.arange(shape[1]) < np.array(lengths)[:, np.newaxis]
        values = np.repeat(is_state[..., np.newaxis], request.hidden_size, axis=2).astype("f4")
        return join_reply(pb.ForwardReply(shape=shape, lengths=lengths), values=values)

    run_here = partial(run, env={"UNROLLED_TARGET": serve(answer)})
    return lambda *arguments, **options: (run_here(*arguments, **options), asked)


SENTENCES = ("--word-embedding-size", 3)


@pytest.mark.parametrize(
    ("options", "words", "left"),
    [
        ((), ["a", "", " "], ["a", " "]),
        (("--alphabet", "ab"), ["a", "", "?"], ["a", "?"]),
        (("--alphabet", "lowercase", "--unknown-symbol", "skip"), ["Ab!", "", "?!", " b"], ["b", "b"]),
        (SENTENCES, ["A b", "", " \t", "\u3000"], ["A b"]),
        ((*SENTENCES, "--tokenize"), ["It's me.", "", " "], ["it 's me ."]),
    ],
)
@pytest.mark.parametrize("command", ["forward", "plot"])
def test_words_without_symbols_are_left_out_and_counted(run_on_words, command, options, words, left):
    """What counts is what is left when unknown letters are gone."""
    done, asked = run_on_words(command, *options, "--on-empty", "skip", input="\n".join(words).encode())
    assert done.exit_code == 0, done.output
    assert asked == [left]
    count = len(words) - len(left)
    assert done.stderr == f"unrolled: left out {count} of {len(words)} words, which have no symbols\n"


def test_the_rows_of_json_are_the_words_that_are_left(run_on_words):
    done, _ = run_on_words("forward", "--on-empty", "skip", "--json", "a", "", "abc")
    content = json.loads(done.stdout)
    assert (content["lengths"], content["shape"]) == ([1, 3], [2, 3, 2])


def test_a_line_is_printed_only_if_words_are_left_out(run_on_words):
    done, asked = run_on_words("forward", "--on-empty", "skip", "a", "b")
    assert (done.stderr, asked) == ("", [["a", "b"]])


def test_a_call_needs_a_word_that_is_left(run_on_words):
    """The message names the options that left nothing."""
    options = ("--alphabet", "digits", "--unknown-symbol", "skip", "--on-empty", "skip")
    done, asked = run_on_words("forward", *options, "a", "b")
    assert (done.exit_code, asked) == (2, [])
    message = " ".join(done.stderr.split())
    assert "all 2 words have no symbols, and --on-empty skip leaves them out; give others, or" in message


def test_empty_words_may_stay_as_zeros(run_on_words):
    """In JSON they have their rows; in a table and a drawing they have no letters, and so no rows."""
    options = ("--on-empty", "zero", "a", "", "bc")
    done, asked = run_on_words("forward", "--json", *options)
    content = json.loads(done.stdout)
    assert (content["lengths"], asked) == ([1, 0, 2], [["a", "", "bc"]])
    assert content["outputs"][1] == [[0, 0], [0, 0]]
    done, _ = run_on_words("forward", *options)
    assert [line.split()[1:4] for line in done.stdout.splitlines() if line.startswith("│")] == [
        ["a", "│", "a"],
        ["bc", "│", "b"],
        ["│", "c", "│"],
    ]
    assert run_on_words("plot", *options)[0].exit_code == 0


def test_words_that_are_too_long_are_cut(run_on_words):
    """At the limit of the server, which counts the letters that are not left out, or the words."""
    skip = ("--alphabet", "abc", "--unknown-symbol", "skip")
    done, asked = run_on_words("forward", "--truncate", *skip, "--json", "abcabc", "a-b-c-a", "ab")
    assert (done.exit_code, asked) == (0, [["abca", "abca", "ab"]])
    done, asked = run_on_words("forward", "--truncate", *SENTENCES, "--tokenize", "It isn't me.")
    assert (done.exit_code, asked[1:]) == (0, [["it is n't me"]])


def test_letters_are_not_tokenized(run_on_words):
    done, asked = run_on_words("forward", "--tokenize", "It's me.")
    assert (done.exit_code, asked) == (2, [])
    message = " ".join(done.stderr.split())
    assert "--tokenize is for sentences; give --vectors or --word-embedding-size" in message


def test_the_caption_of_a_table_names_random_word_vectors(run_on_words):
    done, _ = run_on_words("forward", *SENTENCES, "it is")
    assert "(batch, seq, hidden) = (1, 2, 2), layout batch_first, word_embedding_size 3" in done.stdout
