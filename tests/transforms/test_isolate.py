from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import OptionError
from sonogloss.transforms.isolate import out_of_memory, run_isolated


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
    outcomes = run_isolated(Fussy(poison, largest), range(size))
    assert len(outcomes) == size
    for item, outcome in enumerate(outcomes):
        if item in poison:
            assert isinstance(outcome, ValueError)
            assert str(item) in str(outcome)
        else:
            assert outcome == item * 10


def test_a_good_batch_is_one_call_and_a_culprit_costs_logarithmically_many() -> None:
    model = Fussy(set())
    run_isolated(model, range(32))
    assert model.calls == 1
    model = Fussy({17})
    run_isolated(model, range(32))
    assert model.calls == 11  # the whole, then two halves at each of five levels


def test_lack_of_memory_halves_the_batch_until_it_fits() -> None:
    outcomes = run_isolated(Fussy(set(), largest=8), range(32))
    assert outcomes == [item * 10 for item in range(32)]


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
        run_isolated(run, [1, 2])


def test_a_model_that_loses_items_is_a_bug_and_said_so() -> None:
    with pytest.raises(RuntimeError, match="1 results for 2 items"):
        run_isolated(lambda items: [0], [1, 2])
