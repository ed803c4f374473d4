from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods import ClapIdentity, DecodeSettings, ProjectionSettings
from sonogloss.methods.drcap.captioner import DrcapCaptioner
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.mapper import Mapper
from sonogloss.records import Context, FloatArray
from tests.language_models import SENTENCES, tiny_language_model

POCKET = ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}")


def tiny_captioner(*, decode: DecodeSettings | None = None, width: int = 32) -> DrcapCaptioner:
    torch.manual_seed(3)
    return DrcapCaptioner(
        language_model=tiny_language_model(),
        mapper=Mapper(8, width, hidden=16),
        prompt=POCKET,
        clap=ClapIdentity(name="tiny", fingerprint="0" * 64, dim=8),
        contexts=2,
        projection=ProjectionSettings(temperature=0.1, renormalise=True),
        decode=decode or DecodeSettings(num_beams=2, max_new_tokens=10, batch_size=3),
        fingerprint="f" * 64,
    )


CAPTIONER = tiny_captioner()


def _unit(rows: int) -> FloatArray:
    vectors = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class Shelf:
    """A retriever over two captions that remembers what it was asked with."""

    def __init__(self) -> None:
        self.searched: list[FloatArray] = []

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        self.searched.append(queries)
        found = [Context(id=i, text=SENTENCES[i], score=0.5, source="shelf") for i in range(k)]
        return [found for _ in queries]

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        assert (temperature, renormalise) == (0.1, True)
        return -queries


def test_captions_are_looked_up_with_the_raw_embedding_and_written_from_the_projected_one() -> None:
    shelf, raw = Shelf(), _unit(3)
    captions, found = CAPTIONER.caption_audio(raw, shelf)
    assert np.array_equal(shelf.searched[0], raw)
    assert captions == CAPTIONER.caption(-raw, [SENTENCES[:2]] * 3)
    assert [[context.text for context in row] for row in found] == [SENTENCES[:2]] * 3


@settings(deadline=None, max_examples=8, derandomize=True)
@given(contexts=st.lists(st.lists(st.sampled_from(SENTENCES), max_size=3), min_size=1, max_size=6))
def test_a_caption_does_not_depend_on_its_neighbours(contexts: Sequence[Sequence[str]]) -> None:
    embeddings = _unit(len(contexts))
    together = CAPTIONER.caption(embeddings, contexts)
    alone = [CAPTIONER.caption(embeddings[i : i + 1], [contexts[i]])[0] for i in range(len(contexts))]
    assert together == alone
    assert together == CAPTIONER.caption(embeddings, contexts)


def test_a_caption_is_one_line_without_marks() -> None:
    for caption in CAPTIONER.caption(_unit(6), [[]] * 6):
        assert caption == " ".join(caption.split())
        assert "<s>" not in caption
        assert "</s>" not in caption


def test_its_prompts_name_no_labels() -> None:
    assert not CAPTIONER.has_keywords
    assert CAPTIONER.keywords(_unit(2)) == [(), ()]


def test_no_clips_give_no_captions() -> None:
    assert CAPTIONER.caption(np.empty((0, 8), np.float32), []) == []


@pytest.mark.parametrize("beams", [1, 3])
def test_candidates_begin_with_the_caption_and_differ(beams: int) -> None:
    made = tiny_captioner(decode=DecodeSettings(num_beams=beams, max_new_tokens=10, batch_size=3))
    embeddings, contexts = _unit(5), [SENTENCES[:number] for number in range(5)]
    assert made.beams == beams
    for count in (1, 2, 5):
        found = made.candidates(embeddings, contexts, count)
        searched = made.caption(embeddings, contexts, beams=max(count, beams))
        assert [texts[0] for texts in found] == searched
        assert all(len(set(texts)) == len(texts) <= count for texts in found)
        assert [made.candidates(embeddings[i : i + 1], [contexts[i]], count)[0] for i in range(5)] == found
    assert max(map(len, found)) > 2
    assert made.candidates(embeddings[:0], [], 3) == []


def test_more_candidates_than_there_can_be_are_refused_before_the_first_clip() -> None:
    nothing = np.empty((0, 8), np.float32)
    assert CAPTIONER.candidates(nothing, [], 160) == []
    with pytest.raises(OptionError, match=r"161 beams .* 160"):
        CAPTIONER.candidates(nothing, [], 161)
    with pytest.raises(OptionError, match=r"161 beams .* 160"):
        CAPTIONER.caption(nothing, [], beams=161)


def test_captions_too_long_for_the_model_are_left_out() -> None:
    embeddings = _unit(1)
    assert CAPTIONER.caption(embeddings, [["a dog barks", "rain " * 400]]) == CAPTIONER.caption(
        embeddings, [["a dog barks"]]
    )


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(OptionError, match=r"\(2, 8\)"):
        CAPTIONER.caption(np.zeros((2, 9), np.float32), [[], []])


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelFormatError, match="8 dimensions into 1 x 16"):
        tiny_captioner(width=16)
    with pytest.raises(OptionError, match="leaves room for 6"):
        tiny_captioner(decode=DecodeSettings(max_new_tokens=250))
