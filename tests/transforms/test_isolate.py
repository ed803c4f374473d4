from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.transforms.isolate import (
    as_clip_error,
    dead_letter,
    drop_failures,
    forget_sizes,
    out_of_memory,
    run_isolated,
)

from .conftest import MakeBatch


@pytest.fixture(autouse=True)
def whole_batches() -> None:
    """No test learns from another how much fits."""
    forget_sizes()


class Fussy:
    """A model that refuses some items and any batch that is too large."""

    def __init__(self, poison: set[int], largest: int = 1000) -> None:
        self.poison, self.largest = poison, largest
        self.calls = 0

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls += 1
        if len(items) > self.largest:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if bad := self.poison & set(items):
            raise ValueError(f"cannot digest {min(bad)}")
        return [item * 10 for item in items]


@given(poison=st.sets(st.integers(0, 40)), size=st.integers(0, 40), largest=st.integers(1, 50))
def test_every_item_gets_its_own_answer_whatever_its_neighbours_do(poison: set[int], size: int, largest: int) -> None:
    """Also where earlier examples have left a size that fitted."""
    outcomes = run_isolated(Fussy(poison, largest), range(size), stage="s")
    assert len(outcomes) == size
    for item, outcome in enumerate(outcomes):
        if item in poison:
            assert isinstance(outcome, ValueError)
            assert str(item) in str(outcome)
        else:
            assert outcome == item * 10


def test_a_good_batch_is_one_call_and_a_culprit_costs_logarithmically_many() -> None:
    model = Fussy(set())
    run_isolated(model, range(32), stage="s")
    assert model.calls == 1
    model = Fussy({17})
    run_isolated(model, range(32), stage="s")
    assert model.calls == 11  # the whole, then two halves at each of five levels


def test_lack_of_memory_halves_the_batch_until_it_fits() -> None:
    model = Fussy(set(), largest=8)
    assert run_isolated(model, range(32), stage="s") == [item * 10 for item in range(32)]
    model.calls = 0
    assert run_isolated(model, range(32), stage="s") == [item * 10 for item in range(32)]
    assert model.calls == 4  # the size that fitted is kept
    model.largest, model.calls = 3, 0
    assert run_isolated(model, range(32), stage="s") == [item * 10 for item in range(32)]
    model.calls = 0
    run_isolated(model, range(32), stage="s")
    assert model.calls == 16  # memory became scarcer
    run_isolated(model, range(32), stage="another")
    assert model.calls > 32  # each step learns its own size


def test_a_clip_that_never_fits_leaves_the_others_large_batches() -> None:
    def run(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        if 17 in items:
            raise MemoryError
        return list(items)

    calls: list[int] = []
    outcomes = run_isolated(run, range(32), stage="s")
    assert [item for item, outcome in enumerate(outcomes) if isinstance(outcome, MemoryError)] == [17]
    calls.clear()
    assert run_isolated(run, range(100, 132), stage="s") == list(range(100, 132))
    assert calls == [16, 16]


def test_lack_of_memory_is_known_in_all_its_forms() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    assert out_of_memory(MemoryError())
    assert out_of_memory(OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(ValueError("shape"))


def test_a_mistake_about_the_whole_job_is_not_isolated() -> None:
    def run(items: Sequence[int]) -> list[int]:
        raise OptionError("The device is gone.", "Plug it in.")

    with pytest.raises(OptionError):
        run_isolated(run, [1, 2], stage="s")


def test_a_model_that_loses_items_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="1 results for 2 items"):
        run_isolated(lambda items: [0], [1, 2], stage="s")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ClipError(Code.CORRUPT, "Broken.", 12), "CORRUPT", "Broken."),
        (ValueError("shape\n   (3, 4)  of x"), "MODEL_FAILED", "ValueError: shape (3, 4) of x"),
        (RuntimeError("CUDA out of memory. Tried"), "OUT_OF_MEMORY", "RuntimeError: CUDA out of memory. Tried"),
        (MemoryError(), "OUT_OF_MEMORY", "MemoryError:"),
        (KeyError("x" * 2000), "MODEL_FAILED", f"KeyError: '{'x' * 489}"),
    ],
)
def test_a_dead_letter_says_what_failed_in_one_short_line(error: Exception, code: str, message: str) -> None:
    found = dead_letter(error, stage="score", uri="a.zip", member="b.wav", clip_id="c")
    assert (found.stage, found.code, found.message) == ("score", code, message)
    assert (found.clip_id, found.uri, found.member) == ("c", "a.zip", "b.wav")
    assert found.byte_offset == (12 if isinstance(error, ClipError) else None)
    assert len(found.message) <= 500
    assert as_clip_error(error).code.value == code
    assert found.retryable == (code == "OUT_OF_MEMORY")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a function without state
@given(failed=st.sets(st.integers(0, 5)), refused=st.sets(st.integers(0, 5)))
def test_failures_and_refused_results_leave_the_batch(
    make_batch: MakeBatch, failed: set[int], refused: set[int]
) -> None:
    outcomes: list[int | Exception] = [ValueError(str(row)) if row in failed else row for row in range(6)]

    def check(result: int) -> ClipError | None:
        return ClipError(Code.EMPTY_CAPTION, "Nothing.") if result in refused else None

    batch, results = drop_failures(make_batch(6), outcomes, stage="s", check=check)
    kept = [row for row in range(6) if row not in failed | refused]
    assert results == kept
    assert batch.captions == tuple(f"caption {row}" for row in kept)
    expected = ["MODEL_FAILED" if row in failed else "EMPTY_CAPTION" for row in range(6) if row not in kept]
    assert [dead.code for dead in batch.dead] == expected
