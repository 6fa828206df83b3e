"""Batches lose nothing; the fastest setting is found under a clock that the test winds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.encoders.preprocess import batched, check_texts, fastest, in_batches, stack
from embedstore.errors import UsageError


@given(st.lists(st.integers()), st.integers(1, 7))
def test_batches_hold_everything_in_order(items, size):
    chunks = list(batched(items, size))
    assert [item for chunk in chunks for item in chunk] == items
    assert all(1 <= len(chunk) <= size for chunk in chunks)
    assert all(len(chunk) == size for chunk in chunks[:-1])


def test_a_batch_of_nothing_makes_no_sense():
    with pytest.raises(UsageError, match="smallest"):
        list(batched([1], 0))


def test_rows_come_back_in_order_as_float32():
    rows = in_batches([3, 1, 2], 2, 1, lambda chunk: np.array([[float(n)] for n in chunk]))
    assert rows.tolist() == [[3], [1], [2]]
    assert rows.dtype == np.float32
    assert in_batches([], 2, 5, lambda chunk: pytest.fail("nothing to encode")).shape == (0, 5)


def test_stack_refuses_nothing_and_unequal_shapes():
    for wrong in ([], [np.zeros((1, 2), np.float32), np.zeros((2, 1), np.float32)]):
        with pytest.raises(UsageError, match="all of one shape"):
            stack(wrong)


def test_texts_are_checked():
    assert check_texts(["a", "b"]) == ["a", "b"]
    for wrong, message in (("text", "a sequence"), (["a", " \n"], "text 1 is empty"), ([None], "text 0")):
        with pytest.raises(UsageError, match=message):
            check_texts(wrong)


class Clock:
    """Time passes only by running a setting."""

    def __init__(self, seconds_of):
        self.now = 0.0
        self.runs = {}
        self._seconds_of = seconds_of

    def __call__(self):
        return self.now

    def run(self, setting):
        self.runs[setting] = self.runs.get(setting, 0) + 1
        self.now += self._seconds_of(setting, self.runs[setting])
        return setting


def test_the_fastest_wins_and_the_slow_are_measured_once():
    cost = {1: 0.1, 4: 0.2, 8: 2.0}
    clock = Clock(lambda setting, run: cost[setting])
    ranked = fastest([1, 4, 8], clock.run, 30.0, clock)
    assert [rate.setting for rate in ranked] == [4, 1, 8]
    assert ranked[0].per_s == pytest.approx(20)
    assert clock.runs[8] == 2, "once to warm up, once measured"
    assert clock.now < 40


def test_a_slow_first_run_does_not_count():
    clock = Clock(lambda setting, run: 50.0 if run == 1 else 0.1 * setting)
    assert fastest([2, 1], clock.run, 200.0, clock)[0].per_s == pytest.approx(10)


def test_what_is_hopeless_in_its_first_run_is_not_run_again():
    clock = Clock(lambda setting, run: 20.0 * setting if setting == 2 else 1.0)
    ranked = fastest([1, 2], clock.run, 60.0, clock)
    assert [rate.setting for rate in ranked] == [1, 2]
    assert clock.runs[2] == 1


def test_time_that_is_up_leaves_the_rest_unmeasured():
    clock = Clock(lambda setting, run: 10.0)
    ranked = fastest([4, 8, 16, 32], clock.run, 25.0, clock)
    assert [rate.setting for rate in ranked] == [8, 4, 16, 32]
    assert clock.now == 40
    assert set(clock.runs) == {4, 8}
    assert [rate.setting for rate in fastest([1, 2], clock.run, 0.0, clock)] == [1, 2]


def test_a_close_race_goes_on_until_the_time_is_up():
    """The second setting is disturbed once; longer measurement puts it first."""
    clock = Clock(lambda setting, run: 1.1 if (setting, run) == (11, 2) else 1.0)
    ranked = fastest([10, 11], clock.run, 60.0, clock)
    assert ranked[0].setting == 11
    assert clock.now == pytest.approx(60, abs=3)


def test_there_must_be_a_setting():
    with pytest.raises(UsageError, match="no setting"):
        fastest([], lambda setting: 1, 1.0)
