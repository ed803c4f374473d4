"""What readers of dumps give: rows by column, each with its number, or a sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""Cells by column. :data:`LEFT_OUT` stands for a cell that was not read."""

Numbered: TypeAlias = tuple[int, Row | str]
"""The number of a row from 1, by line where the format has lines, and the row or what is wrong with it."""


class LeftOut:
    """Stands in a row for what is too large to be carried along: sound, pictures, vectors."""

    def __reduce__(self) -> str:
        return "LEFT_OUT"


LEFT_OUT = LeftOut()
