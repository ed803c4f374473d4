"""Captions in memory and parts of them, whatever blocks they come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.caption_arrays import CaptionArrays
from sonogloss.errors import OptionError
from sonogloss.records import caption_id
from sonogloss.training.corpus import CaptionRange, all_texts, rows_that_fit, text_lengths

from .conftest import unit
from .test_neighbours import Sharded

TEXTS = ["é" * (1 + number % 7) + str(number) for number in range(40)]
VECTORS = unit(40, 3)


@settings(deadline=None)
@given(start=st.integers(0, 40), length=st.integers(0, 50), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_a_range_is_the_slice_however_the_captions_lie_in_blocks(start: int, length: int, sizes: list[int]) -> None:
    part = CaptionRange(Sharded(TEXTS, VECTORS, sizes), start, start + length)
    texts, vectors = TEXTS[start : start + length], VECTORS[start : start + length]
    assert part.count == len(texts)
    assert part.dim == 8
    rows = np.arange(part.count)[::-1]
    assert part.texts(rows) == texts[::-1]
    assert np.array_equal(part.vectors(rows), vectors[::-1])
    blocks = list(part.blocks())
    assert [int(number) for ids, _ in blocks for number in ids] == [caption_id(text) for text in texts]
    assert np.array_equal(np.concatenate([np.empty((0, 8)), *(block for _, block in blocks)]), vectors)
    assert all(len(ids) == len(block) > 0 for ids, block in blocks)


def test_ranges_of_a_corpus_cover_it() -> None:
    corpus = CaptionArrays(TEXTS, VECTORS)
    parts = [CaptionRange(corpus, start, start + 7) for start in range(0, 40, 7)]
    assert [text for part in parts for text in part.texts(np.arange(part.count))] == TEXTS


def test_lengths_are_counted_in_characters_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("sonogloss.training.corpus", "recipes.caption_arrays"):
        monkeypatch.setattr(f"{room}._BLOCK", 6)
    corpus = CaptionArrays(TEXTS, VECTORS)
    assert [len(part) for part in all_texts(corpus)] == [6] * 6 + [4]
    assert text_lengths(corpus).tolist() == [len(text) for text in TEXTS]
    assert [len(ids) for ids, _ in corpus.blocks()] == [6] * 6 + [4]


@given(limit=st.integers(2, 12))
def test_rows_that_fit_are_those_that_are_short_enough(limit: int) -> None:
    corpus = CaptionArrays(TEXTS, VECTORS)
    rows = rows_that_fit(corpus, lambda texts: [len(text) for text in texts], limit)
    assert rows.tolist() == [row for row, text in enumerate(TEXTS) if len(text) <= limit]


def test_without_a_limit_nothing_is_measured() -> None:
    def tokens(texts: list[str]) -> list[int]:
        raise AssertionError

    assert rows_that_fit(CaptionArrays(TEXTS, VECTORS), tokens, None).tolist() == list(range(40))


def test_a_corpus_without_usable_captions_is_refused() -> None:
    empty = CaptionArrays([], np.empty((0, 8), np.float32))
    with pytest.raises(OptionError, match="no captions"):
        rows_that_fit(empty, lambda texts: [], None)
    with pytest.raises(OptionError, match="1 positions"):
        rows_that_fit(CaptionArrays(TEXTS, VECTORS), lambda texts: [len(text) for text in texts], 1)


def test_vectors_of_another_type_become_float32() -> None:
    corpus = CaptionArrays(TEXTS, VECTORS.astype(np.float64)[:, ::-1])  # type: ignore[arg-type]
    vectors = corpus.vectors(np.array([2, 0]))
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, VECTORS[[2, 0], ::-1])
