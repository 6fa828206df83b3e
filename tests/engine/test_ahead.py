"""A stream run ahead on a thread is the same stream."""

from __future__ import annotations

import itertools
import threading

import pytest

from embedstore.engine.ahead import ahead


def test_order_and_end():
    assert list(ahead(range(1000), 7)) == list(range(1000))
    assert list(ahead([], 1)) == []


def test_an_error_comes_in_its_place():
    def broken():
        yield 1
        raise ValueError("bad")

    stream = ahead(broken(), 5)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="bad"):
        next(stream)


def test_closing_an_endless_stream_leaves_no_thread():
    stream = ahead(itertools.count(), 3)
    assert next(stream) == 0
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "embedstore-ahead"]
