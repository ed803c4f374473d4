"""Vectors on disk, mapped into memory when they are asked for, and compared with queries there or on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from sonogloss.indexes.scan import BoolArray, Scan, Wanted, scan
from sonogloss.records import FloatArray

if TYPE_CHECKING:
    import torch


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
        self._placed: torch.Tensor | None = None
        self.shown: BoolArray | None = None

    @property
    def count(self) -> int:
        """Rows that count."""
        return self._count if self.shown is None else int(self.shown.sum())

    def get(self) -> FloatArray:
        """The vectors, for as long as the caller holds them."""
        return self._load() if self._held is None else self._held

    def to(self, device: str) -> None:
        """Copy the vectors to the memory of a GPU, if they stay mapped and fit there; `cpu` lets a copy go."""
        self._placed = None
        if self._held is not None and device != "cpu":
            from sonogloss.indexes.device_scan import put_on_device  # all of it stands on torch

            self._placed = put_on_device(self._held, device)

    def scan(self, queries: FloatArray, **wanted: Unpack[Wanted]) -> Scan:
        """Compare queries with the rows that count, or with those allowed: :func:`sonogloss.indexes.scan.scan`."""
        if wanted.get("allowed") is None:
            wanted["allowed"] = self.shown
        if self._placed is None:
            return scan(self.get(), queries, **wanted)
        from sonogloss.indexes.device_scan import scan_on_device

        return scan_on_device(self._placed, self.get(), queries, **wanted)
