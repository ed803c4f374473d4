from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.sources.carried import LEFT_OUT, as_json, carried, joined

names = st.text(st.characters(), max_size=4)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=4)
    | st.dates()
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(), max_size=6), anything, max_size=5))
def test_whatever_stands_beside_a_recording_becomes_json_that_any_file_takes(cells: dict[str, Any]) -> None:
    extra = carried(cells, 60)
    content = as_json(extra)
    if not cells.keys() - {LEFT_OUT}:
        assert content is None or LEFT_OUT in cells
        return
    assert content is not None
    content.encode()
    found = json.loads(content, parse_constant=lambda name: pytest.fail(name))
    assert found.keys() == extra.keys()
    assert len(content) < 16 * 6 * 60 * 6


def test_values_keep_their_types_and_what_json_lacks_becomes_text_or_null() -> None:
    day = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
    cells = {
        "text": "caf\u00e9 \ud83d",
        "nan": math.nan,
        "inf": [math.inf, 1.5],
        "nested": {"a": [[1, None], {"b": True}]},
        "when": day,
        "price": Decimal("1.50"),
        "bytes": b"x",
        "deep": {"raw": [b"x"]},
        "long": "y" * 101,
    }
    assert json.loads(as_json(carried(cells, 100, ["image"])) or "") == {
        "text": "caf\u00e9 \ufffd",
        "nan": None,
        "inf": [None, 1.5],
        "nested": {"a": [[1, None], {"b": True}]},
        "when": "2024-05-01T12:30:00+00:00",
        "price": "1.50",
        LEFT_OUT: ["bytes", "deep", "image", "long"],
    }
    assert as_json({}) is None


def test_a_list_in_a_list_without_end_and_a_thousand_columns_are_left_out() -> None:
    endless: list[Any] = []
    for _ in range(5000):
        endless = [endless]
    assert carried({"endless": endless, "a": 1}, 100) == {"a": 1, LEFT_OUT: ["endless"]}
    extra = carried({f"{number:04d}": "x" * 100 for number in range(1000)}, 100)
    assert len(extra) == 17
    assert len(extra[LEFT_OUT]) == 984


def test_two_places_join_and_the_second_one_counts() -> None:
    first, second = {"a": 1, LEFT_OUT: ["b", "c"]}, {"b": 2, LEFT_OUT: ["d"]}
    assert joined(first, second) == {"a": 1, "b": 2, LEFT_OUT: ["c", "d"]}
    assert joined({"a": 1}, {"a": 2}) == {"a": 2}
    assert joined({LEFT_OUT: "mine"}, {}) == {}
    assert carried({LEFT_OUT: ["x", 3]}, 10) == {LEFT_OUT: ["x"]}
