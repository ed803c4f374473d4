from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sonogloss.bridge import project
from sonogloss.records import Context, FloatArray, LabelScore
from sonogloss.transforms.batch_step import timed
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.rerank import embed_for_reranking, rerank
from sonogloss.transforms.retrieve import retrieve
from sonogloss.transforms.score import score
from sonogloss.transforms.work import NO_VECTORS, Batch
from sonogloss.transforms.write_captions import write_captions
from sonogloss.transforms.write_rows import CaptionRows

from .conftest import MakeBatch, make_clip


class FakeClap:
    """Embeds a waveform by its first sample; fails on batches that hold the value 666, gives NaN for 13."""

    name, fingerprint, dim, sample_rate, window_s, temperature = "fake", "f" * 64, 4, 32000, 10.0, 0.1

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        first = np.array([waveform[0] for waveform in waveforms], np.float32)
        if (first == 666).any():
            raise RuntimeError("CUDA error:\n  an illegal memory access")
        vectors = np.stack([np.cos(first), np.sin(first), 0 * first, 0 * first], axis=1)
        vectors[first == 13] = np.nan
        return vectors

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        if "poison" in texts:
            raise ValueError("cannot tokenize")
        return np.tile(np.array([1, 0, 0, 0], np.float32), (len(texts), 1))


class FakeCaptioner:
    """Captions a clip by its number of contexts; a context may ask for an empty caption or for a failure."""

    has_keywords = False

    def caption(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], *, beams: int | None = None
    ) -> list[str]:
        assert len(embeddings) == len(contexts)
        if any("fail" in texts for texts in contexts):
            raise RuntimeError("out of memory")
        heard = "heard" if beams is None else f"heard with {beams // 2}"
        return [" " if "silence" in texts else f" {len(texts)} {heard} " for texts in contexts]

    def candidates(
        self, embeddings: FloatArray, contexts: Sequence[Sequence[str]], count: int
    ) -> list[tuple[str, ...]]:
        sentences = self.caption(embeddings, contexts)
        return [tuple(text if text == " " else f"{text}{n}" for n in range(count)) for text in sentences]


def raw(values: Sequence[float]) -> Batch:
    clips = tuple(make_clip(row, np.full(8, value, np.float32)) for row, value in enumerate(values))
    return Batch(unit="u", number=0, last=True, inputs=len(values), clips=clips)


def test_a_clip_that_cannot_be_embedded_is_a_dead_letter_and_samples_are_dropped() -> None:
    batch = embed_audio(raw([1, 666, 2, 13, 3]), FakeClap())
    assert [clip.uri for clip in batch.clips] == ["/audio/000.wav", "/audio/002.wav", "/audio/004.wav"]
    np.testing.assert_allclose(batch.embeddings[:, 0], np.cos([1, 2, 3]), rtol=1e-6)
    assert all(clip.samples.size == 0 for clip in batch.clips)
    assert [(letter.uri, letter.stage, letter.code) for letter in batch.dead] == [
        ("/audio/001.wav", "embed_audio", "MODEL_FAILED"),
        ("/audio/003.wav", "embed_audio", "NON_FINITE"),
    ]
    assert "\n" not in batch.dead[0].message
    assert batch.dead[0].clip_id == make_clip(1).clip_id


def test_the_neighbours_of_a_failing_clip_are_embedded_as_without_it() -> None:
    whole = embed_audio(raw([1, 2, 3]), FakeClap())
    poisoned = embed_audio(raw([1, 2, 666, 3]), FakeClap())
    np.testing.assert_array_equal(whole.embeddings, poisoned.embeddings)


def test_empty_batches_pass_through_every_step() -> None:
    batch = embed_audio(raw([]), FakeClap())
    batch = retrieve(batch, FakeStore(), contexts=3, projection=None)
    batch = rerank(write_captions(batch, FakeCaptioner(), (2, 4)), FakeClap())  # type: ignore[arg-type]
    batch = rerank(embed_for_reranking(write_captions(batch, FakeCaptioner(), (), 3), FakeClap(), 48000), FakeClap())  # type: ignore[arg-type]
    batch = score(write_captions(batch, FakeCaptioner()), FakeClap())  # type: ignore[arg-type]
    assert not batch.clips
    assert batch.last


class FakeStore:
    """Knows two captions."""

    support = np.eye(2, 4, dtype=np.float32)

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        return [[Context(id=n, text=f"c{n}", score=0.1, source="s") for n in range(k)] for _ in queries]

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        return project(queries, self.support, temperature=temperature, renormalise=renormalise)

    def search_and_project(
        self, queries: FloatArray, k: int, *, temperature: float, renormalise: bool
    ) -> tuple[list[list[Context]], FloatArray]:
        return self.search(queries, k), self.project(queries, temperature=temperature, renormalise=renormalise)


def test_retrieval_gives_contexts_and_the_projection(make_batch: MakeBatch) -> None:
    from sonogloss.methods import ProjectionSettings

    batch = replace(make_batch(3), contexts=(), projected=NO_VECTORS)
    settings = ProjectionSettings(temperature=0.1, renormalise=False)
    done = retrieve(batch, FakeStore(), contexts=2, projection=settings)
    assert [[context.text for context in row] for row in done.contexts] == [["c0", "c1"]] * 3
    np.testing.assert_array_equal(
        done.projected, project(batch.embeddings, FakeStore.support, temperature=0.1, renormalise=False)
    )
    plain = retrieve(batch, FakeStore(), contexts=0, projection=None)
    assert plain.contexts == ((), (), ())
    np.testing.assert_array_equal(plain.projected, batch.embeddings)
    alone = retrieve(batch, None, contexts=0, projection=None)
    assert alone.contexts == ((), (), ())
    np.testing.assert_array_equal(alone.projected, batch.embeddings)


class BrokenStore(FakeStore):
    """Cannot search for one query, and projects another one on nothing."""

    def __init__(self, poison: FloatArray, lost: FloatArray) -> None:
        self.poison, self.lost = poison, lost

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        if (queries == self.poison).all(1).any():
            raise RuntimeError("the index is torn")
        return super().search(queries, k)

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        projected = super().project(queries, temperature=temperature, renormalise=renormalise)
        projected[(queries == self.lost).all(1)] = np.nan
        return projected


def test_a_clip_that_cannot_be_looked_up_costs_no_other(make_batch: MakeBatch) -> None:
    from sonogloss.methods import ProjectionSettings

    batch = replace(make_batch(5), contexts=(), projected=NO_VECTORS, captions=(), scores=())
    settings = ProjectionSettings(temperature=0.1, renormalise=False)
    store = BrokenStore(batch.embeddings[1], batch.embeddings[3])
    done = retrieve(batch, store, contexts=2, projection=settings)
    good = retrieve(batch, FakeStore(), contexts=2, projection=settings)
    assert [clip.clip_id for clip in done.clips] == [batch.clips[row].clip_id for row in (0, 2, 4)]
    np.testing.assert_array_equal(done.projected, good.projected[[0, 2, 4]])
    np.testing.assert_array_equal(done.embeddings, batch.embeddings[[0, 2, 4]])
    assert len(done.contexts) == 3
    assert [(letter.stage, letter.code) for letter in done.dead] == [
        ("retrieve", "MODEL_FAILED"),
        ("retrieve", "NON_FINITE"),
    ]


class NowhereClap(FakeClap):
    """Has no finite place for the text `nowhere`."""

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        vectors = super().embed_text(texts)
        vectors[[text == "nowhere" for text in texts]] = np.inf
        return vectors


def test_a_caption_without_a_finite_embedding_is_neither_scored_nor_chosen(make_batch: MakeBatch) -> None:
    done = score(replace(make_batch(3), captions=("a", "nowhere", "b"), scores=()), NowhereClap())
    assert (len(done.clips), len(done.scores), done.captions) == (2, 2, ("a", "b"))
    assert [(letter.stage, letter.code) for letter in done.dead] == [("score", "NON_FINITE")]
    candidates = (("nowhere", "a"), ("nowhere",))
    chosen = rerank(replace(make_batch(2), candidates=candidates, captions=(), scores=()), NowhereClap())
    assert chosen.captions == ("a",)
    assert [(letter.stage, letter.code) for letter in chosen.dead] == [("rerank", "NON_FINITE")]


def test_a_dead_letter_of_a_clip_names_its_source_as_the_listing_did(make_batch: MakeBatch) -> None:
    batch = make_batch(1)
    clip = replace(batch.clips[0], source_range=(2.0, None), source_id="x", extra='{"tag": 1}')
    [letter] = score(replace(batch, clips=(clip,), captions=("poison",), scores=()), FakeClap()).dead
    assert (letter.start_s, letter.end_s, letter.source_id, letter.extra) == (2.0, None, "x", '{"tag": 1}')
    assert (letter.code, letter.retryable) == ("MODEL_FAILED", False)


def test_a_clip_without_a_caption_is_a_dead_letter(make_batch: MakeBatch) -> None:
    def context(text: str) -> tuple[Context, ...]:
        return (Context(id=1, text=text, score=0.5, source="s"),)

    words = ["rain", "fail", "silence", "rain"]
    batch = replace(make_batch(4), contexts=tuple(context(word) for word in words), captions=(), scores=())
    done = write_captions(batch, FakeCaptioner())  # type: ignore[arg-type]
    assert done.captions == ("1 heard", "1 heard")
    assert [letter.code for letter in done.dead] == ["OUT_OF_MEMORY", "EMPTY_CAPTION"]
    np.testing.assert_array_equal(done.embeddings, batch.embeddings[[0, 3]])


class NamingCaptioner(FakeCaptioner):
    """Names one label a clip."""

    has_keywords = True

    def keywords(self, embeddings: FloatArray) -> list[tuple[LabelScore, ...]]:
        return [(LabelScore(label="dog", score=float(row[0])),) for row in embeddings]


@pytest.mark.parametrize("best", [0, 2])
def test_keywords_of_a_prompt_stay_with_their_clip(make_batch: MakeBatch, best: int) -> None:
    words = ["rain", "fail", "rain", "silence"]
    contexts = tuple((Context(id=1, text=word, score=0.5, source="s"),) for word in words)
    batch = replace(make_batch(4), contexts=contexts, captions=(), scores=())
    done = write_captions(batch, NamingCaptioner(), (), best)  # type: ignore[arg-type]
    assert [row[0].score for row in done.labels] == batch.projected[[0, 2], 0].tolist()
    if best:
        done = rerank(done, FakeClap())
    [first, second] = CaptionRows(method="m", keywords=True).of(score(done, FakeClap()))
    assert (first.keywords, second.keywords) == done.labels
    assert CaptionRows(method="m").of(score(done, FakeClap()))[0].keywords is None


def test_several_searches_give_candidates_in_their_order(make_batch: MakeBatch) -> None:
    words = ["rain", "fail", "silence"]
    contexts = tuple((Context(id=1, text=word, score=0.5, source="s"),) for word in words)
    batch = replace(make_batch(3), contexts=contexts, captions=(), scores=())
    done = write_captions(batch, FakeCaptioner(), (2, 3, 4))  # type: ignore[arg-type]
    assert done.candidates == (("1 heard with 1", "1 heard with 2"),)
    assert done.captions == ()
    assert [letter.code for letter in done.dead] == ["OUT_OF_MEMORY", "EMPTY_CAPTION"]


def test_one_search_gives_candidates_too(make_batch: MakeBatch) -> None:
    words = ["rain", "fail", "silence"]
    contexts = tuple((Context(id=1, text=word, score=0.5, source="s"),) for word in words)
    batch = replace(make_batch(3), contexts=contexts, captions=(), scores=())
    done = write_captions(batch, FakeCaptioner(), (), 2)  # type: ignore[arg-type]
    assert done.candidates == (("1 heard 0", "1 heard 1"),)
    assert [letter.code for letter in done.dead] == ["OUT_OF_MEMORY", "EMPTY_CAPTION"]


class CompassClap(FakeClap):
    """Puts `north` and `near north` near the first axis, the rest on the second; counts the texts it embeds."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        if "poison" in texts:
            raise ValueError("cannot tokenize")
        self.seen += texts
        places = {"north": [1, 0, 0, 0], "near north": [0.8, 0.6, 0, 0]}
        return np.array([places.get(text, [0, 1, 0, 0]) for text in texts], np.float32)


def test_the_candidate_nearest_to_the_sound_wins_and_is_scored_once(make_batch: MakeBatch) -> None:
    candidates = (("east", "near north", "north"), ("a", "b"), ("poison", "north"), ("poison",), ("north",))
    north = np.tile(np.array([1, 0, 0, 0], np.float32), (5, 1))
    batch = replace(make_batch(5), embeddings=north, candidates=candidates, captions=(), scores=())
    clap = CompassClap()
    done = rerank(batch, clap)
    assert done.captions == ("north", "a", "north", "north")  # of equals the first
    assert done.scores == (1.0, 0.0, 1.0, 1.0)
    assert done.candidates == ()
    assert [(letter.uri, letter.stage, letter.code) for letter in done.dead] == [
        (make_clip(3).uri, "rerank", "MODEL_FAILED")
    ]
    before = len(clap.seen)
    assert score(done, clap) is done
    assert len(clap.seen) == before


def test_another_reranker_embeds_the_clips_itself_and_leaves_the_scores_to_the_jobs_own_clap() -> None:
    batch = embed_for_reranking(raw([0, 666, np.pi / 2, 13]), CompassClap(), 32000)
    np.testing.assert_allclose(batch.rerank_embeddings, np.eye(2, 4), atol=1e-6)
    assert [(letter.uri, letter.stage, letter.code) for letter in batch.dead] == [
        ("/audio/001.wav", "rerank_audio", "MODEL_FAILED"),
        ("/audio/003.wav", "rerank_audio", "NON_FINITE"),
    ]
    assert all(clip.samples.size for clip in batch.clips)  # the job's own CLAP comes next
    own = replace(
        batch, embeddings=batch.rerank_embeddings[::-1].copy(), candidates=(("east", "north"), ("north", "east"))
    )
    done = rerank(own, CompassClap())
    assert done.captions == ("north", "east")  # by its own embeddings the job's CLAP would have it the other way round
    assert done.scores == ()
    assert done.rerank_embeddings.size == 0
    assert score(done, CompassClap()).scores == pytest.approx((0.0, 0.0), abs=1e-6)
    one = replace(own, candidates=(("poison",), ("north", "poison", "east")))
    left = rerank(one, CompassClap())
    assert left.captions == ("east",)
    assert [(letter.uri, letter.stage) for letter in left.dead][2:] == [("/audio/000.wav", "rerank")]


def test_a_reranker_of_another_rate_gets_resampled_clips_and_never_too_long_ones() -> None:
    class OtherRate(FakeClap):
        sample_rate, window_s = 48000, 0.1

        def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
            assert [len(waveform) for waveform in waveforms] == [4800, 2400]
            return super().embed_audio(waveforms)

    clips = (make_clip(0, np.zeros(3201, np.float32)), make_clip(1, np.zeros(1600, np.float32)))
    heard = embed_for_reranking(replace(raw([]), clips=clips), OtherRate(), 32000)
    assert heard.dead == ()
    assert len(heard.rerank_embeddings) == 2


def test_the_score_is_the_cosine_with_the_raw_embedding(make_batch: MakeBatch) -> None:
    batch = make_batch(3)
    unit = batch.embeddings / np.linalg.norm(batch.embeddings, axis=1, keepdims=True)
    batch = replace(batch, embeddings=unit, projected=-unit, captions=("a", "poison", "c"), scores=())
    done = score(batch, FakeClap())
    assert done.scores == pytest.approx(unit[[0, 2], 0])
    assert [letter.stage for letter in done.dead] == ["score"]


def test_seconds_are_noted_by_step(make_batch: MakeBatch) -> None:
    batch = timed("score", score, make_batch(2), clap=FakeClap())
    assert set(batch.seconds) == {"read_audio", "score"}
