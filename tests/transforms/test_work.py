from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.records import DeadLetter, LabelScore
from sonogloss.sources import Source, source_key
from sonogloss.transforms.work import Batch, cut_units, make_unit, sum_counts

from .conftest import MakeBatch, make_clip


def listing(count: int, size: int | None = None) -> list[Source]:
    return [Source(uri=f"a/{number:05d}.wav", bytes=size) for number in range(count)]


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(1, 1 << 30), st.integers(0, 3))
def test_units_hold_every_source_that_is_left_once(count: int, size: int, every: int) -> None:
    sources = listing(count, size)
    done = np.array([bool(every) and number % every == 0 for number in range(count)], bool)
    units = list(cut_units(sources, done=done))
    left = [source for source, finished in zip(sources, done, strict=True) if not finished]
    assert sorted((source for unit in units for source in unit.sources), key=lambda source: source.uri) == left
    assert all(unit.sources for unit in units)
    assert len({unit.id for unit in units}) == len(units)


def test_units_are_a_64th_of_the_work_by_number_and_by_bytes() -> None:
    sizes = {count: [len(unit.sources) for unit in cut_units(listing(count))] for count in (1, 50, 1920, 200_000)}
    assert sizes == {1: [1], 50: [20, 20, 10], 1920: [30] * 64, 200_000: [2048] * 97 + [1344]}
    assert [len(unit.sources) for unit in cut_units(listing(10, 1 << 30))] == [1] * 10
    assert [len(unit.sources) for unit in cut_units(listing(10, 20 << 20))] == [3, 3, 3, 1]


def test_a_job_that_goes_on_keeps_the_units_of_which_nothing_is_done() -> None:
    units = list(cut_units(listing(1200)))
    done = np.arange(1200) < 600
    assert list(cut_units(listing(1200), done=done)) == units[30:]
    done[800] = True
    again = list(cut_units(listing(1200), done=done))
    assert again[:-1] == units[30:40] + units[41:]
    assert again[-1].sources == units[40].sources[1:]


def test_identities_never_change() -> None:
    """Work that was done is found again by keys, part files by the ids of units."""
    assert source_key(Source(uri="/a.wav", bytes=5, version="7")) == "095fdff6262daa552f3e216c7769eaa3"
    part = Source(uri="caf\udce9.tar", member="x", start_s=0.0, end_s=2.5)
    assert source_key(part) == "885f414ff1848e3fcacd2c65bd960e67"
    assert make_unit([Source(uri="/a.wav"), Source(uri="/b.wav")]).id == "670166b48b6757f2"


def test_a_source_is_known_by_name_content_and_range() -> None:
    source = Source(uri="a", bytes=1, version="1")
    others = [
        replace(source, **{name: value})
        for name, value in {"uri": "b", "member": "m", "version": "2", "start_s": 0.0, "end_s": 1.0}.items()
    ]
    assert len({source_key(each) for each in [source, *others]}) == 6
    assert make_unit([source, others[0]]).id != make_unit([others[0], source]).id


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
        caption_embeddings=vectors + 400,
        loudness=np.arange(count, dtype=np.float32),
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
    untouched = {"unit", "number", "last", "inputs", "sources", "bytes", "silent", "windows", "seconds"}
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
