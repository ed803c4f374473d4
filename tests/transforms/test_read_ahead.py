from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.sources import Source
from sonogloss.transforms.read_ahead import ReadAhead, UnitsAhead
from sonogloss.transforms.work import Batch, Unit


@given(items=st.lists(st.integers()))
def test_items_come_in_order(items: list[int]) -> None:
    assert list(ReadAhead(item for item in items)) == items


def test_one_item_is_made_ahead_and_no_more() -> None:
    made = threading.Semaphore(0)
    count = 0

    def items() -> Generator[int, None, None]:
        nonlocal count
        for number in range(5):
            count += 1
            made.release()
            yield number

    ahead = ReadAhead(items())
    for number in range(3):
        assert made.acquire(timeout=10)  # it is made before it is asked for
        assert count == number + 1
        assert next(ahead) == number
    ahead.close()


def test_an_error_is_raised_where_its_item_is_due_and_again() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    ahead = ReadAhead(items())
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            next(ahead)


def test_closing_closes_the_generator_in_its_thread() -> None:
    closed_in: list[int] = []

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield 0
        finally:
            closed_in.append(threading.get_ident())

    ahead = ReadAhead(items())
    next(ahead)
    ahead.close()
    ahead.close()
    assert len(closed_in) == 1
    assert closed_in != [threading.get_ident()]


def batches(units: Iterator[Unit]) -> Generator[Batch, None, None]:
    for unit in units:
        count = int(unit.id.partition("-")[2])
        for number in range(count):
            yield Batch(unit=unit.id, number=number, last=number == count - 1, inputs=0)


@given(sizes=st.lists(st.integers(1, 4)))
def test_the_batches_of_a_unit_come_when_the_next_one_is_added_or_in_the_end(sizes: list[int]) -> None:
    ahead = UnitsAhead(batches)
    units = [Unit(id=f"{n}-{size}", sources=(Source(uri="a"),)) for n, size in enumerate(sizes)]
    found = []
    for number, unit in enumerate(units):
        found += list(ahead.add(unit))
        assert len(found) == sum(sizes[:number])
    found += list(ahead.finish())
    ahead.close()
    assert [(batch.unit, batch.number) for batch in found] == [
        (unit.id, number) for unit, size in zip(units, sizes, strict=True) for number in range(size)
    ]


def test_units_may_be_left_at_any_time() -> None:
    ahead = UnitsAhead(batches)
    assert list(ahead.add(Unit(id="0-3", sources=()))) == []
    next(iter(ahead.add(Unit(id="1-3", sources=()))))
    ahead.close()
