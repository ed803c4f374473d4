"""Vectors on disk, mapped into memory when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sonogloss.records import FloatArray

BoolArray = npt.NDArray[np.bool_]


class Mapped:
    """One array of vectors [count, dim].

    Args:
        load: maps the file.
        count: its rows.
        keep: stay mapped once asked for; else only while the caller holds them, so that a store may exceed the
            memory.

    Attributes:
        shown: [count], which rows count; None for all. Others are the same captions as in a store that came before.
    """

    def __init__(self, load: Callable[[], FloatArray], count: int, *, keep: bool = True) -> None:
        self._load, self._count = load, count
        self._held = load() if keep else None
        self.shown: BoolArray | None = None

    @property
    def count(self) -> int:
        """Rows that count."""
        return self._count if self.shown is None else int(self.shown.sum())

    def get(self) -> FloatArray:
        """The vectors, for as long as the caller holds them."""
        return self._load() if self._held is None else self._held
