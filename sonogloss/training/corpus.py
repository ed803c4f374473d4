"""Captions with their embeddings, wherever they lie, and what a training asks of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray, IntArray

_BLOCK = 16_384


class EmbeddedCaptions(Protocol):
    """Captions with their unit embeddings, by row. An open `indexes.Datastore` is one."""

    @property
    def count(self) -> int:
        """Number of captions."""

    @property
    def dim(self) -> int:
        """Width of the embeddings."""

    def texts(self, rows: IntArray) -> list[str]:
        """The captions in these rows."""

    def vectors(self, rows: IntArray) -> FloatArray:
        """Their embeddings [n, dim]."""

    def blocks(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Caption ids [n] and embeddings [n, dim] of all rows in order, block by block."""


class CaptionRange:
    """The rows `start` to `end` (exclusive) of other captions."""

    def __init__(self, captions: EmbeddedCaptions, start: int, end: int) -> None:
        self._captions, self._start, self._end = captions, start, min(end, captions.count)

    @property
    def count(self) -> int:
        """Number of captions."""
        return self._end - self._start

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self._captions.dim

    def texts(self, rows: IntArray) -> list[str]:
        """The captions in these rows."""
        return self._captions.texts(rows + self._start)

    def vectors(self, rows: IntArray) -> FloatArray:
        """Their embeddings [n, dim]."""
        return self._captions.vectors(rows + self._start)

    def blocks(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Caption ids and embeddings of all rows in order, block by block."""
        first = 0
        for ids, vectors in self._captions.blocks():
            here = slice(max(0, self._start - first), max(0, self._end - first))
            if len(ids[here]):
                yield ids[here], vectors[here]
            first += len(ids)


def all_texts(captions: EmbeddedCaptions) -> Iterator[list[str]]:
    """All texts in order, some thousands at a time."""
    for start in range(0, captions.count, _BLOCK):
        yield captions.texts(np.arange(start, min(captions.count, start + _BLOCK)))


def text_lengths(captions: EmbeddedCaptions) -> IntArray:
    """[count] characters of each text."""
    return np.fromiter((len(text) for part in all_texts(captions) for text in part), np.int64, captions.count)


def rows_that_fit(
    captions: EmbeddedCaptions, tokens: Callable[[list[str]], list[int]], max_tokens: int | None
) -> IntArray:
    """The rows whose sequences are short enough for the language model.

    Args:
        captions: to choose from.
        tokens: gives the length of the sequence of each caption, without retrieved captions.
        max_tokens: the longest sequence that the language model takes; None without a limit.

    Raises:
        OptionError: there are no captions, or none that fits.
    """
    if captions.count == 0:
        raise OptionError("There are no captions to learn from.", "Name files that hold captions.")
    if max_tokens is None:
        return np.arange(captions.count)
    lengths = np.fromiter((n for part in all_texts(captions) for n in tokens(part)), np.int64, captions.count)
    rows = np.flatnonzero(lengths <= max_tokens)
    if len(rows) == 0:
        raise OptionError(f"No caption fits into the language model's {max_tokens} positions.", "Shorten the captions.")
    return rows


def fingerprint(settings: object, *captions: EmbeddedCaptions | None) -> str:
    """A digest of settings and captions, the same however the captions are split into blocks and shards."""
    whole = hashlib.sha256(repr(settings).encode())
    for given in captions:
        ids, vectors = hashlib.sha256(), hashlib.sha256()
        for block_ids, block in given.blocks() if given is not None else ():
            ids.update(np.ascontiguousarray(block_ids, np.int64).tobytes())
            vectors.update(np.ascontiguousarray(block, np.float32).tobytes())
        whole.update(ids.digest() + vectors.digest())
    return whole.hexdigest()
