"""A store asked piece by piece, anywhere and in any order, says what one process says."""

import fsspec
import numpy as np
import pytest

from sonogloss.indexes import Datastore
from sonogloss.indexes.pieces import ask_piece, count_pieces, join_answers
from tests.indexes.conftest import build, unit_rows


def by_pieces(path, queries, k, temperature, **options):
    """Every piece asked by a process of its own, about some queries at a time, the last piece first."""
    store = Datastore.open(path, search="partitioned", **options)
    answers = []
    for piece in reversed(range(count_pieces(store, k=k, projecting=temperature is not None))):
        answer = ask_piece(
            Datastore.open(path, search="partitioned", **options), piece, queries, k=k, temperature=temperature
        )
        answers.append(answer)
    return answers, join_answers(answers, queries, k=k, temperature=temperature, renormalise=True)


@pytest.mark.parametrize("support", ["all", "apart"])
@pytest.mark.parametrize("temperature", [0, 0.02, 1])
def test_pieces_join_into_the_whole(tmp_path, support, temperature):
    vectors, queries = unit_rows(300, dim=32), unit_rows(7, dim=32, seed=1)
    vectors[200:] = vectors[:100]  # equal scores in different shards, ordered by id
    ids = np.random.default_rng(0).permutation(300).tolist()
    kind = support if support == "all" else [vectors[:40], vectors[40:90]]
    path = build(tmp_path / "store", vectors, shards=4, ids=ids, support=kind)
    store = Datastore.open(path)
    assert store.owns_support == (support == "all")
    _, (contexts, projected) = by_pieces(path, queries, 6, temperature)
    expected, expected_projected = store.search_and_project(queries, 6, temperature=temperature, renormalise=True)
    assert contexts == expected
    np.testing.assert_array_equal(projected, expected_projected)
    answers, (none, alone) = by_pieces(path, queries, 0, temperature)
    assert len(answers) == (4 if support == "all" else 2)
    assert none == [[]] * 7
    np.testing.assert_array_equal(alone, expected_projected)
    _, (found, unchanged) = by_pieces(path, queries, 6, None)
    assert found == store.search(queries, 6)
    assert unchanged is queries
    some = [answer.part(slice(2, 5)) for answer in by_pieces(path, queries, 6, temperature)[0]]
    part, part_projected = join_answers(some, queries[2:5], k=6, temperature=temperature, renormalise=True)
    assert part == expected[2:5]
    np.testing.assert_array_equal(part_projected, expected_projected[2:5])


def test_a_shard_elsewhere_is_copied_when_it_is_asked(store_dir, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(store_dir, "/pieces/store", recursive=True)
    store = Datastore.open("memory://pieces/store", search="partitioned", cache_dir=str(tmp_path / "cache"))
    assert not list(tmp_path.glob("cache/**/vectors.npy"))
    ask_piece(store, 1, unit_rows(2), k=2, temperature=None)
    [copied] = tmp_path.glob("cache/**/vectors.npy")
    assert copied.parent.name == "00001"
    assert store.search(unit_rows(2), 3) == Datastore.open(store_dir).search(unit_rows(2), 3)
    memory.rm("/pieces", recursive=True)
