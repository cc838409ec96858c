"""When workers may serve, and when their server is ready."""

import pytest
from unrolled_server.process.supervision_policy import DifferentBitsError, Muster


@pytest.fixture
def muster():
    return Muster(3)


def proved(muster, *pids):
    return [pid for at in pids for pid in muster.prove(at, fingerprint="f")]


def test_none_may_serve_before_all_are_proved(muster):
    assert proved(muster, 1, 2) == []
    assert proved(muster, 3) == [1, 2, 3]


def test_one_that_dies_while_it_waits_is_waited_for_again(muster):
    proved(muster, 1, 2)
    muster.lose(2)
    assert proved(muster, 3) == []
    assert proved(muster, 4) == [1, 3, 4]


def test_the_server_is_ready_once_when_all_serve(muster):
    proved(muster, 1, 2, 3)
    assert [muster.serve(pid) for pid in (1, 2)] == [False, False]
    assert not muster.is_ready
    assert muster.serve(3)
    muster.lose(1)
    proved(muster, 4)
    assert not muster.serve(4)
    assert muster.is_ready


def test_one_that_dies_before_the_others_serve_holds_up_ready(muster):
    proved(muster, 1, 2, 3)
    muster.serve(1)
    muster.serve(2)
    muster.lose(1)
    assert not muster.serve(3)
    proved(muster, 4)
    assert muster.serve(4)


def test_some_serve_until_the_last_is_dead(muster):
    proved(muster, 1, 2, 3)
    assert not muster.is_serving
    muster.serve(1)
    muster.lose(2)
    assert muster.is_serving
    muster.lose(1)
    assert not muster.is_serving


def test_a_replacement_may_serve_as_soon_as_it_is_proved(muster):
    proved(muster, 1, 2, 3)
    muster.lose(2)
    assert proved(muster, 4) == [4]


def test_losing_tells_whether_it_served(muster):
    proved(muster, 1, 2, 3)
    muster.serve(1)
    assert [muster.lose(pid) for pid in (1, 2, 9)] == [True, False, False]


def test_a_worker_with_other_bits_is_refused_also_later(muster):
    proved(muster, 1, 2, 3)
    with pytest.raises(DifferentBitsError, match="fingerprint g beside f"):
        muster.prove(4, fingerprint="g")
