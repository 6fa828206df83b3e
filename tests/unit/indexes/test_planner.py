"""Which way a query goes is decided from counts alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedstore.contracts.index import IndexTraits
from embedstore.indexes.planner import MAX_EFFORT, plan, widened

EXACT = IndexTraits(exact=True)
ANN = IndexTraits(exact=False, oversample=10)


def test_an_exact_index_is_always_asked():
    assert plan(100_000, 100, 512, 10, EXACT).way == "index"
    assert plan(100_000, 100_000, 512, 10, EXACT).way == "index"


def test_few_allowed_vectors_are_scanned_and_many_are_not():
    ways = {share: plan(100_000, int(100_000 * share), 512, 10, ANN).way for share in (0.001, 0.01, 0.1, 1)}
    assert ways == {0.001: "scan", 0.01: "scan", 0.1: "index", 1: "index"}


def test_wanting_most_of_them_is_a_scan():
    assert plan(100_000, 100_000, 512, 5_000, ANN).way == "scan"


@given(
    st.integers(0, 10**7),
    st.integers(1, 4096),
    st.integers(1, 10**5),
    st.booleans(),
    st.integers(1, 100),
)
def test_every_plan_ends_in_a_scan_and_never_wants_more_than_there_is(n, dim, k, exact, oversample):
    current = plan(10**7, n, dim, k, IndexTraits(exact=exact, oversample=oversample))
    steps = 0
    while current.way == "index":
        assert min(n, k) <= current.candidates <= n
        assert current.effort <= MAX_EFFORT
        later = widened(current, n)
        assert later.way == "scan" or later.candidates > current.candidates
        current, steps = later, steps + 1
    assert steps <= MAX_EFFORT
