"""Captions with their embeddings in memory, for trainings without a datastore on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray, IntArray, caption_id

_BLOCK = 16_384


class CaptionArrays:
    """Captions and embeddings in memory.

    Args:
        captions: n texts.
        embeddings: [n, d], unit rows.

    Raises:
        OptionError: the counts differ, or an embedding is not finite.
    """

    def __init__(self, captions: Sequence[str], embeddings: FloatArray) -> None:
        if embeddings.ndim != 2 or len(embeddings) != len(captions):
            raise OptionError(
                f"The embeddings have shape {embeddings.shape}, expected one row for each of {len(captions)}.",
                "Embed all texts with one CLAP.",
            )
        if not np.isfinite(embeddings).all():
            raise OptionError("The embeddings hold values that are not finite.", "Embed the texts again.")
        self._captions = list(captions)
        self._embeddings = np.ascontiguousarray(embeddings, np.float32)
        self._ids = np.array([caption_id(text) for text in captions], np.int64)

    @property
    def count(self) -> int:
        """Number of captions."""
        return len(self._captions)

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return int(self._embeddings.shape[1])

    def texts(self, rows: IntArray) -> list[str]:
        """The captions in these rows."""
        return [self._captions[row] for row in rows]

    def vectors(self, rows: IntArray) -> FloatArray:
        """Their embeddings [n, dim]."""
        return self._embeddings[rows]

    def blocks(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Caption ids and embeddings of all rows in order, block by block."""
        for start in range(0, self.count, _BLOCK):
            yield self._ids[start : start + _BLOCK], self._embeddings[start : start + _BLOCK]
