"""Rows of JSON: lines, arrays, objects of arrays, whatever is in them and however they are cut into blocks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.dumps import json_rows
from sonogloss.dumps.json_rows import BrokenJsonError, is_lines, json_lines, json_values

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
objects = st.lists(st.dictionaries(st.sampled_from(["text", "n", "x"]), values, min_size=1), max_size=8)


def read(document: Any, *columns: str) -> list[Any]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = list(json_values(io.BytesIO(content), columns or ("text",)))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [row for _, row in found]


@settings(max_examples=60)
@given(rows=objects, ahead=st.integers(1, 40), indent=st.sampled_from([None, 1]))
def test_an_array_gives_its_objects_however_it_is_cut(rows: list[Any], ahead: int, indent: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_AHEAD", ahead)
        assert read(json.dumps(rows, indent=indent, ensure_ascii=False).encode()) == rows
        inside = {"n": 1, "info": {"a": [1]}, "data": [{"text": "first"}, *rows], "end": [1, 2]}
        assert read(json.dumps(inside, indent=indent).encode()) == [{"text": "first"}, *rows]


def test_shapes_of_documents() -> None:
    assert read(["rain", "wind"]) == [{"text": "rain"}, {"text": "wind"}]
    assert read({"caption": ["rain", "wind"], "n": [1, 2]}, "caption") == [{"caption": "rain"}, {"caption": "wind"}]
    assert read({"a.wav": {"text": "rain"}, "b.wav": {"text": "wind"}}) == [
        {"key": "a.wav", "text": "rain"},
        {"key": "b.wav", "text": "wind"},
    ]
    assert read({"images": [{"file": "a"}], "annotations": [{"text": "rain"}]}) == [{"text": "rain"}]
    assert read({"text": "rain", "n": 3}) == [{"text": "rain", "n": 3}]
    assert read([{"text": "rain"}, 3, None])[1:] == [
        "The element is int, neither an object nor text.",
        "The element is NoneType, neither an object nor text.",
    ]
    (problem,) = read({"rows": [{"x": 1}], "n": 3})
    assert "it has rows, n" in problem


@pytest.mark.parametrize(
    "content",
    [b"[", b'[{"text": "a"}', b'[{"text": "a"}]]', b'{"data": [{"text": "a"},}', b"", b"nonsense", b"[" * 9999],
)
def test_a_broken_document_gives_the_rows_before_the_break(content: bytes) -> None:
    found: list[Any] = []
    with pytest.raises(BrokenJsonError):
        found.extend(row for _, row in json_values(io.BytesIO(content), ("text",)))
    assert found in ([], [{"text": "a"}])


def test_a_value_that_is_too_long_ends_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_LINE", 1 << 17)
    content = json.dumps([{"text": "a"}, {"text": "x" * (1 << 20)}, {"text": "b"}]).encode()
    with pytest.raises(BrokenJsonError, match="longer than"):
        list(json_values(io.BytesIO(content), ("text",)))


def test_lines_of_json() -> None:
    found = dict(
        json_lines([b'{"text": "a"}\n', b"\n", b"[1]\n", b'{"a": 1, "a": 2}\n', b"{", None, b"\xff"], ("text",))
    )
    assert (found[1], found[2]) == ({"text": "a"}, {"text": ""})
    assert all(isinstance(found[number], str) for number in (3, 4, 5, 6, 7))
    assert "twice" in str(found[4])


def test_what_json_lines_look_like() -> None:
    assert is_lines(b'{"a": 1}\n{"b"')
    assert is_lines(b'{"a": 1}\r\n\r\n{"b"')
    assert not any(map(is_lines, (b"[1]\n[2]", b'{\n"a": 1}', b'{"a": 1}', b"")))
