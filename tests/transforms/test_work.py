from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.records import DeadLetter, LabelScore
from sonogloss.transforms.work import Batch, cut_units, make_unit, sum_counts

from .conftest import MakeBatch, make_clip


@given(st.integers(0, 3000))
def test_units_hold_every_source_once_and_in_order(count: int) -> None:
    uris = [f"a/{number:05d}.wav" for number in range(count)]
    units = cut_units(uris)
    assert [uri for unit in units for uri in unit.uris] == uris
    assert all(1 <= len(unit.uris) <= 64 for unit in units)
    assert len({unit.id for unit in units}) == len(units)


def test_a_listing_is_cut_as_it_always_was() -> None:
    """Part files are found again by the ids of units: neither the cut nor a digest may ever change."""
    assert make_unit(["/a.wav", "/b.wav"]).id == "348555ae719691c4"
    assert make_unit(["caf\udce9.wav"]).id == "edc82bd058f8c2e8"
    sizes = {
        count: [len(unit.uris) for unit in cut_units([str(n) for n in range(count)])] for count in (1, 20, 300, 2000)
    }
    assert sizes == {1: [1], 20: [8, 8, 4], 300: [19] * 15 + [15], 2000: [64] * 31 + [16]}


def test_a_unit_is_known_by_its_sources_and_nothing_else() -> None:
    assert make_unit(["a", "b"]).id == make_unit(["a", "b"]).id
    assert make_unit(["a", "b"]).id != make_unit(["b", "a"]).id
    assert make_unit(["ab"]).id != make_unit(["a", "b"]).id


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 99)), max_size=6))
def test_sums_are_by_key_and_keys_are_sorted(counts: list[dict[str, int]]) -> None:
    expected = sum((Counter(count) for count in counts), Counter[str]())
    total = sum_counts(counts)
    assert list(total) == sorted(total)
    assert {key: value for key, value in total.items() if value} == dict(expected)
    assert sum_counts([{"b": 1, "a": 2.5}, {"b": 2}, {}]) == {"a": 2.5, "b": 3}


def full_batch(make_batch: MakeBatch, count: int) -> Batch:
    """A batch whose every column is filled, by numbers that name the row."""
    vectors = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    return replace(
        make_batch(count),
        embeddings=vectors,
        projected=vectors + 100,
        rerank_embeddings=vectors + 200,
        frames=np.stack([vectors, vectors], axis=1),
        label_scores=vectors + 300,
        candidates=tuple((f"{row}a", f"{row}b") for row in range(count)),
        labels=tuple((LabelScore(label=str(row), score=0.5),) for row in range(count)),
        scores=tuple(float(row) for row in range(count)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a function without state
@given(count=st.integers(1, 6), failed=st.sets(st.integers(0, 5)))
def test_a_failed_clip_leaves_with_its_row_of_every_column(make_batch: MakeBatch, count: int, failed: set[int]) -> None:
    failed = {row for row in failed if row < count}
    batch = full_batch(make_batch, count)
    dead = {
        row: DeadLetter(clip_id=None, uri=make_clip(row).uri, member=None, stage="s", code="C", message="m")
        for row in failed
    }
    left = batch.without(dead)
    kept = [row for row in range(count) if row not in failed]
    untouched = {"unit", "number", "last", "inputs", "seconds"}
    for item in fields(Batch):
        before, after = getattr(batch, item.name), getattr(left, item.name)
        if item.name in untouched:
            assert after == before
        elif item.name != "dead":
            assert len(before) == count, f"{item.name} is not filled: this test must know every column"
            assert len(after) == len(kept)
            assert all(np.array_equal(after[place], before[row]) for place, row in enumerate(kept))
    assert [letter.uri for letter in left.dead] == [make_clip(row).uri for row in sorted(failed)]


def test_columns_that_no_step_has_filled_stay_empty(make_batch: MakeBatch) -> None:
    batch = Batch(unit="u", number=0, last=True, inputs=2, clips=(make_clip(0), make_clip(1)))
    dead = DeadLetter(clip_id=None, uri="x", member=None, stage="s", code="C", message="m")
    left = batch.without({0: dead})
    assert left.clips == (batch.clips[1],)
    assert left.captions == ()
    assert left.embeddings.shape == (0, 0)
    assert batch.without({}) is batch
