"""Captions out of cells, their words, and what is carried along."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.dumps.rows import LEFT_OUT
from sonogloss.dumps.texts import WordLimits, carried, count_words, normalize, texts_of
from sonogloss.tables import text_list


@pytest.mark.parametrize(
    ("value", "texts", "problems"),
    [
        ("rain", ["rain"], 0), (7, ["7"], 0), (["a", "b"], ["a", "b"], 0), ("['a', 'b']", ["a", "b"], 0),
        ('["a", "b"]', ["a", "b"], 0), ("['a' 'b']", ["a", "b"], 0), ("[music] plays", ["[music] plays"], 0),
        ("N/A", ["N/A"], 0), ("nan", ["nan"], 0), ([], [""], 0), ("[]", [""], 0), (["a", None, math.nan], ["a"], 2),
        (math.nan, [], 1), (math.inf, [], 1), (True, [], 1), (None, [], 1), ({"a": 1}, [], 1), ("a \ud83d b", [], 1),
        ([["a"]], [], 1), (LEFT_OUT, [], 1), (b"a", [], 1),
    ],
)  # fmt: skip
def test_what_is_a_caption_and_what_is_not(value: Any, texts: list[str], problems: int) -> None:
    found, why = texts_of({"text": value}, ("text",))
    assert (found, len(why)) == (texts, problems)


def test_several_columns_may_lack_some() -> None:
    row = {"caption_1": "a", "caption_2": None, "caption_3": True}
    assert texts_of(row, ("caption_1", "caption_2")) == (["a", ""], [])
    assert texts_of(row, ("caption_2", "caption_4")) == ([], ["The text column is missing or null."])
    assert len(texts_of(row, ("caption_1", "caption_3"))[1]) == 1
    assert texts_of({"text": "['a', 'b']"}, ("text",), lists=False) == (["['a', 'b']"], [])


@given(st.lists(st.text()))
def test_a_list_written_as_text_is_that_list(texts: list[str]) -> None:
    assert text_list(repr(texts)) == texts
    assert text_list(repr(texts).replace("', '", "'\n '")) == texts or any("', '" in text for text in texts)


@pytest.mark.parametrize(
    "cell", ["[", "[1, 2]", "['a', 2]", "['a'", "['a'] b", "[f'{x}']", "[b'a']", "['a' + 'b']", "[" * 5000]
)
def test_other_text_is_no_list(cell: str) -> None:
    assert text_list(cell) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0), ("rain", 1), ("a dog  barks", 3), ("it's raining", 2), ("雨が降る", 4), ("犬 barks 两次", 4),
        ("дождь идёт", 2),
        ("rain — wind", 2), ("ฝนตก", 4), ("rain - wind", 2), ("비가 온다", 2),
    ],
)  # fmt: skip
def test_words_are_counted_in_any_language(text: str, words: int) -> None:
    assert count_words(text) == words


def test_limits_of_words() -> None:
    limits = WordLimits(at_least=2, at_most=3)
    assert [limits.refuse(text) for text in ("a", "a b", "a b c", "a b c d")] == ["too_short", None, None, "too_long"]
    assert WordLimits().refuse("a") is None


def test_a_mark_of_byte_order_within_a_text_is_no_letter() -> None:
    assert normalize("\ufeffcafe\u0301\x00 noise\u2028 ") == "caf\u00e9 noise"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1.5, 1.5), ("a", "a"), ("a\ud83d", "a\ufffd"), ([1, 2], "[1, 2]"), (list(range(65)), LEFT_OUT),
        (b"x", LEFT_OUT),
        ({"bytes": b"x"}, LEFT_OUT), ({"array": [0.1] * 100}, LEFT_OUT), ("x" * 20_000, LEFT_OUT), (None, None),
    ],
)  # fmt: skip
def test_what_travels_along(value: Any, kept: Any) -> None:
    assert dict(carried({"text": "a", "x": value, "id": 1}, ("text",))) == {"x": kept, "original_id": 1}


@pytest.mark.parametrize("text", ["\u200b", " \u00ad\u2060 ", "\u202e\u200f", "\u3164", "\ufeff\u200d"])
def test_a_text_that_nobody_sees_is_empty(text: str) -> None:
    assert normalize(text) == ""
    assert normalize(f"rain{text}\u00e9").startswith("rain")
