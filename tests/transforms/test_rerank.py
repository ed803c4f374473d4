"""Re-ranking against plain arithmetic: the nearest candidate wins, the first of equals, whoever fails beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.records import FloatArray
from sonogloss.transforms.rerank import rerank
from sonogloss.transforms.score import score
from sonogloss.transforms.work import NO_VECTORS, Batch

from .conftest import MakeBatch, make_clip


class WordClap:
    """Embeds a text by looking it up; `poison` fails, `void` has no direction."""

    name, fingerprint, dim, sample_rate, window_s, temperature = "words", "f" * 64, 4, 32000, 10.0, 0.1
    places = {
        text: np.random.default_rng(number).standard_normal(4).astype(np.float32)
        for number, text in enumerate(["rain", "wind", "dog", "car", "bell"])
    } | {"void": np.full(4, np.nan, np.float32)}  # fmt: skip

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        if "poison" in texts:
            raise ValueError("cannot tokenize")
        rows = np.array([self.places[text] for text in texts], np.float32).reshape(-1, 4)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


words = st.sampled_from(["rain", "wind", "dog", "car", "bell", "poison", "void"])
candidates_of_clips = st.lists(st.lists(words, min_size=1, max_size=4).map(tuple), max_size=5)


def by_hand(candidates: Sequence[str], sound: FloatArray) -> tuple[str, float] | None:
    usable = [text for text in candidates if text not in ("poison", "void")]
    cosines = [float(WordClap().embed_text([text])[0] @ sound) for text in usable]
    if not usable:
        return None
    best = max(cosines)
    return usable[cosines.index(best)], min(1.0, max(-1.0, best))


def with_candidates(make_batch: MakeBatch, candidates: Sequence[tuple[str, ...]]) -> Batch:
    batch = make_batch(len(candidates))
    sounds = batch.embeddings / np.linalg.norm(batch.embeddings, axis=1, keepdims=True)
    return replace(batch, embeddings=sounds, candidates=tuple(candidates), captions=(), scores=())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a function without state
@given(candidates=candidates_of_clips)
def test_the_nearest_candidate_wins_and_a_clip_without_one_is_a_dead_letter(
    make_batch: MakeBatch, candidates: list[tuple[str, ...]]
) -> None:
    batch = with_candidates(make_batch, candidates)
    clap: Any = WordClap()
    done = rerank(batch, clap)
    expected = [by_hand(row, sound) for row, sound in zip(candidates, batch.embeddings, strict=True)]
    kept = [(number, found) for number, found in enumerate(expected) if found is not None]
    assert done.captions == tuple(found[0] for _, found in kept)
    assert done.scores == pytest.approx([found[1] for _, found in kept], abs=1e-6)
    assert [clip.uri for clip in done.clips] == [make_clip(number).uri for number, _ in kept]
    lost = [number for number, found in enumerate(expected) if found is None]
    assert [letter.uri for letter in done.dead] == [make_clip(number).uri for number in lost]
    assert done.candidates == ()
    assert score(done, clap) is done or not done.captions  # scored already


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(candidates=candidates_of_clips.filter(len))
def test_another_clap_chooses_by_its_own_embeddings_and_leaves_the_scores_alone(
    make_batch: MakeBatch, candidates: list[tuple[str, ...]]
) -> None:
    batch = with_candidates(make_batch, candidates)
    other = np.roll(batch.embeddings, 1, axis=1)
    done = rerank(replace(batch, rerank_embeddings=other), WordClap())  # type: ignore[arg-type]
    expected = [by_hand(row, sound) for row, sound in zip(candidates, other, strict=True)]
    assert done.captions == tuple(found[0] for found in expected if found is not None)
    assert done.scores == ()
    assert done.rerank_embeddings is NO_VECTORS
    kept = [number for number, found in enumerate(expected) if found is not None]
    np.testing.assert_array_equal(done.embeddings, batch.embeddings[kept].reshape(done.embeddings.shape))
    final = score(done, WordClap()).scores  # type: ignore[arg-type]
    by_own = [
        float(WordClap().embed_text([caption])[0] @ batch.embeddings[number])
        for number, caption in zip(kept, done.captions, strict=True)
    ]
    assert final == pytest.approx(by_own, abs=1e-6)
