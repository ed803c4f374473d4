from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sonogloss.transforms.work import cut_units, make_unit, sum_counts


@given(st.integers(0, 3000))
def test_units_hold_every_source_once_and_in_order(count: int) -> None:
    uris = [f"a/{number:05d}.wav" for number in range(count)]
    units = cut_units(uris)
    assert [uri for unit in units for uri in unit.uris] == uris
    assert all(1 <= len(unit.uris) <= 64 for unit in units)
    assert len({unit.id for unit in units}) == len(units)


def test_a_unit_is_known_by_its_sources_and_nothing_else() -> None:
    assert make_unit(["a", "b"]).id == make_unit(["a", "b"]).id
    assert make_unit(["a", "b"]).id != make_unit(["b", "a"]).id
    assert make_unit(["ab"]).id != make_unit(["a", "b"]).id


def test_sums_are_by_key() -> None:
    assert sum_counts([{"b": 1, "a": 2.5}, {"b": 2}, {}]) == {"a": 2.5, "b": 3}
