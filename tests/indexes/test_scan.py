"""One pass over stored vectors: equal to plain float64 arithmetic, and the same bits whatever the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.bridge import finish, merge, project
from sonogloss.indexes import candidates
from sonogloss.indexes.scan import scan
from sonogloss.indexes.tiles import ROWS, plan_widths, query_tiles
from tests.indexes.conftest import unit_rows


def nearest(vectors, queries, k, ids=None):
    """Rows by score in float64, then by id."""
    ids = np.arange(len(vectors)) if ids is None else ids
    scores = (queries[:, None].astype(float) * vectors.astype(float)).sum(axis=2)
    return [np.lexsort((ids, -row))[:k].tolist() for row in scores]


def rows_of(found):
    return [rows.tolist() for _, rows in found.nearest]


def near_one(rows, dim, scale, seed):
    """Unit rows around one direction: their scores differ in the last digits or not at all."""
    vectors = unit_rows(1, dim=dim, seed=seed) + scale * np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(
    rows=st.integers(1, 80),
    dim=st.sampled_from([1, 3, 16, 40]),
    n=st.integers(1, 60),
    k=st.integers(1, 90),
    temperature=st.sampled_from([0, 1e-3, 0.005, 0.01, 0.07, 1, 100]),
    scale=st.sampled_from([1e-7, 1e-4, 1e-2, 10]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_a_pass_is_plain_arithmetic(rows, dim, n, k, temperature, scale, seed):
    vectors, ids = near_one(rows, dim, scale, seed), np.random.default_rng(seed).permutation(rows)
    queries = np.concatenate([vectors, unit_rows(n, dim=dim, seed=seed + 1)])[:n].copy()
    found = scan(vectors, queries, ids=ids, k=k, temperature=temperature)
    assert rows_of(found) == nearest(vectors, queries, k, ids)
    expected = project(queries, vectors, temperature=temperature, renormalise=False)
    np.testing.assert_allclose(finish(found.softmax, renormalise=False), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 7])
@pytest.mark.parametrize("kind", ["float32", "float16", "misaligned"])
def test_tiles_of_any_storage(rows, kind):
    vectors, queries = unit_rows(rows, dim=24), unit_rows(40, dim=24, seed=1)
    stored = vectors.astype(np.float16) if kind == "float16" else vectors
    if kind == "misaligned":
        stored = np.frombuffer(b"x" + vectors.tobytes(), np.uint8)[1:].view(np.float32).reshape(vectors.shape)
        assert not stored.flags.aligned
    found = scan(stored, queries, k=5, temperature=0.05)
    assert rows_of(found) == nearest(stored, queries, 5)
    expected = project(queries, stored.astype(np.float32), temperature=0.05, renormalise=True)
    np.testing.assert_allclose(finish(found.softmax, renormalise=True), expected, atol=1e-6, rtol=0)
    assert rows_of(scan(stored, queries, k=5)) == rows_of(found)


@pytest.mark.parametrize("dim", [24, 512])
@pytest.mark.parametrize("temperature", [0.01, 0.07])
def test_neither_the_batch_nor_the_place_in_it_changes_a_bit(dim, temperature):
    vectors, queries = unit_rows(ROWS + 500, dim=dim), unit_rows(300, dim=dim, seed=1)
    whole = scan(vectors, queries, k=3, temperature=temperature)
    for part in (slice(0, 1), slice(17, 18), slice(60, 95), slice(255, 300), slice(None, None, -1)):
        some = scan(vectors, np.ascontiguousarray(queries[part]), k=3, temperature=temperature)
        assert np.array_equal(some.softmax.vector, whole.softmax.vector[part])
        assert np.array_equal(some.softmax.total, whole.softmax.total[part])
        for (scores, rows), (other_scores, other_rows) in zip(some.nearest, whole.nearest[part], strict=True):
            assert np.array_equal(scores, other_scores)
            assert np.array_equal(rows, other_rows)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_number_of_threads_changes_no_bit(dtype):
    vectors, queries = unit_rows(7 * ROWS + 9, dim=16).astype(dtype), unit_rows(40, dim=16, seed=1)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(scan(vectors, queries, k=5, temperature=0.02))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert rows_of(other) == rows_of(found[0])
        assert np.array_equal(other.softmax.vector, found[0].softmax.vector)
        assert np.array_equal(other.softmax.total, found[0].softmax.total)


def test_thousands_of_ties_come_by_id(monkeypatch):
    monkeypatch.setattr(candidates, "_LIMIT", 100)
    vectors = np.concatenate([np.repeat(unit_rows(1), ROWS + 900, axis=0), unit_rows(300, seed=5)])
    ids = np.random.default_rng(3).permutation(len(vectors))
    found = scan(vectors, vectors[:2], ids=ids, k=7, temperature=0.02)
    assert ids[found.nearest[0][1]].tolist() == sorted(ids[: ROWS + 900])[:7]
    expected = project(vectors[:2], vectors, temperature=0.02, renormalise=False)
    np.testing.assert_allclose(finish(found.softmax, renormalise=False), expected, atol=1e-6)


@given(shown=st.lists(st.booleans(), min_size=30, max_size=30), temperature=st.sampled_from([1e-3, 0.05]))
@settings(deadline=None, max_examples=30)
def test_rows_that_do_not_count_are_as_if_they_were_not_there(shown, temperature):
    vectors, queries, allowed = unit_rows(30), unit_rows(4, seed=1), np.array(shown)
    found = scan(vectors, queries, k=4, temperature=temperature, allowed=allowed)
    left = np.flatnonzero(allowed)
    assert rows_of(found) == [left[rows].tolist() for rows in nearest(vectors[left], queries, 4)]
    if len(left):
        expected = project(queries, vectors[left], temperature=temperature, renormalise=False)
        np.testing.assert_allclose(finish(found.softmax, renormalise=False), expected, atol=1e-6)


def test_parts_merge_into_the_whole():
    vectors, queries = unit_rows(9000, dim=16), unit_rows(5, dim=16, seed=1)
    state = scan(vectors[:100], queries, temperature=0.03).softmax
    for part in (vectors[100:5000], vectors[5000:5000], vectors[5000:]):
        state = merge(state, scan(part, queries, temperature=0.03).softmax, 0.03)
    whole = scan(vectors, queries, temperature=0.03).softmax
    np.testing.assert_allclose(finish(state, renormalise=True), finish(whole, renormalise=True), atol=1e-6)


@given(n=st.integers(1, 700))
@settings(deadline=None, max_examples=20)
def test_every_query_has_one_place(n):
    queries = unit_rows(n, dim=8)
    found = query_tiles(queries)
    assert [tile.first for tile in found] == np.cumsum([0, *(len(tile.places) for tile in found)])[:-1].tolist()
    assert np.array_equal(np.concatenate([tile.rows[tile.places] for tile in found]), queries)
    assert sum(len(tile.rows) for tile in found) == sum(len(tile.rows) for tile in query_tiles(queries))


@pytest.mark.parametrize(
    ("n", "widths"), [(1, [8]), (8, [8]), (9, [32]), (32, [48]), (40, [64]), (50, [64, 8]), (1000, [320] * 3 + [128])]
)
def test_tiles_of_a_batch_cost_the_least(n, widths):
    usable = ((8, 8), (32, 16), (48, 32), (64, 48), (128, 112), (320, 304))
    assert plan_widths(usable, n) == widths


def test_an_empty_batch_has_no_tiles():
    assert plan_widths(((32, 16),), 0) == []
