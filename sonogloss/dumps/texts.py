"""Captions out of the cells of a row, and what else of the row is carried along."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sonogloss.dumps.rows import LEFT_OUT, LeftOut, Row
from sonogloss.sources.names import storable
from sonogloss.tables import text_list

RESERVED = ("id", "text", "source")
"""Columns of a datastore's own; a dump's column of such a name becomes `original_id` and so on."""

_LONGEST_LIST = 64  # elements of a list that is carried along; longer ones are samples or vectors
_LONGEST_CELL = 16 << 10  # letters of a cell that is carried along
_SURROGATE = re.compile("[\ud800-\udfff]")
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters that nobody sees
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# A letter is a word in scripts that put no blanks between words: Han, Hiragana, Katakana; Thai, Lao, Burmese, Khmer.
_LETTER_WORDS = re.compile(
    "[\u0e01-\u0e30\u0e40-\u0e44\u0e81-\u0eb0\u0ec0-\u0ec4\u1000-\u102a\u1780-\u17b3\u3041-\u3096\u30a1-\u30fa"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, kw_only=True)
class WordLimits:
    """How many words a caption may have; None for no limit. A Chinese or Japanese letter counts as a word."""

    at_least: int | None = None
    at_most: int | None = None

    def refuse(self, text: str) -> str | None:
        """`too_short` or `too_long`, or None for a text within the limits."""
        if self.at_least is None and self.at_most is None:
            return None
        words = count_words(text)
        if self.at_least is not None and words < self.at_least:
            return "too_short"
        return "too_long" if self.at_most is not None and words > self.at_most else None


def count_words(text: str) -> int:
    """Words between blanks; in scripts without blanks each letter is one."""
    letters = 0 if text.isascii() else len(_LETTER_WORDS.findall(text))
    others = _LETTER_WORDS.sub(" ", text) if letters else text
    return letters + sum(1 for part in others.split() if any(map(str.isalnum, part)))


def normalize(text: str) -> str:
    """Unicode NFC, white space (and invisible control characters) to single blanks, none at the ends.

    A text of nothing but invisible letters, as a blank of no width, is empty.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.replace("\ufeff", ""))
        if not any(unicodedata.category(letter)[0] not in "CZ" and letter not in _FILLERS for letter in text):
            return ""
    return " ".join(_CONTROL.sub(" ", text).split())


def texts_of(row: Row, text_columns: tuple[str, ...], *, lists: bool = True) -> tuple[list[str], list[str]]:
    """The captions of a row, as they stand, and why others are none. A list, or one written as text, is several.

    Args:
        row: the cells.
        text_columns: the columns that hold captions. One that is null is no fault where another is not.
        lists: is a text that is written like a list a list?
    """
    texts, problems = list[str](), list[str]()
    missing = 0
    for column in text_columns:
        value = row.get(column)
        if value is None:
            missing += 1
            texts += [""] if len(text_columns) > 1 else []
            continue
        for item in _items(value, lists):
            problem = _problem(item)
            if problem is None:
                texts.append(str(item))
            else:
                problems.append(problem)
    if missing == len(text_columns):
        return [], ["The text column is missing or null."]
    return texts, problems


def _items(value: Any, lists: bool) -> list[Any]:
    if isinstance(value, list):
        return value or [""]
    if lists and isinstance(value, str) and value.lstrip().startswith("["):
        found = text_list(value)
        if found is not None:
            return [*found] or [""]
    return [value]


def _problem(value: Any) -> str | None:
    """Why a value is no caption."""
    if isinstance(value, str):
        return "The text holds half a character (a lone surrogate)." if _SURROGATE.search(value) else None
    if isinstance(value, LeftOut):
        return "The text is too long."
    if isinstance(value, bool):
        return "The text column holds true or false, not text."
    if isinstance(value, float) and not math.isfinite(value):
        return "The text column holds NaN or infinity, not text."
    if isinstance(value, int | float):
        return None
    if value is None:
        return "The list in the text column holds null."
    return f"The text column holds {type(value).__name__}, not text."


def carried(row: Row, text_columns: tuple[str, ...]) -> Iterator[tuple[str, int | float | str | LeftOut | None]]:
    """The further columns of a row: numbers and text as they are, small lists and objects as JSON, others left out."""
    for name, value in row.items():
        if name not in text_columns:
            name = storable(str(name))
            yield f"original_{name}" if name in RESERVED else name, _scalar(value)


def _scalar(value: Any) -> int | float | str | LeftOut | None:
    """What a column of the datastore can hold."""
    if value is None or isinstance(value, LeftOut):
        return value
    if isinstance(value, str):
        return LEFT_OUT if len(value) > _LONGEST_CELL else storable(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, bytes | bytearray) or not _is_small(value):
        return LEFT_OUT
    text = json.dumps(storable(value), ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_CELL else LEFT_OUT


def _is_small(value: Any) -> bool:
    """Does a nested value hold no bytes and no long list?"""
    if isinstance(value, Mapping):
        return all(map(_is_small, value.values()))
    if isinstance(value, list | tuple):
        return len(value) <= _LONGEST_LIST and all(map(_is_small, value))
    return not isinstance(value, bytes | bytearray | memoryview)
