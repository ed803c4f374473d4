"""From prompts with audio slots and embeddings to lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.decoding.generate import generate
from sonogloss.decoding.sequences import AUDIO_SLOT
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods.generator import SoftPromptGenerator
from sonogloss.methods.mapper import Mapper
from sonogloss.records import FloatArray
from tests.language_models import SENTENCES, tiny_language_model

LANGUAGE_MODEL = tiny_language_model()
DECODE = DecodeSettings(num_beams=2, max_new_tokens=8, batch_size=3)
torch.manual_seed(4)
MAPPER = Mapper(8, 32, hidden=16, slots=2)
GENERATOR = SoftPromptGenerator(language_model=LANGUAGE_MODEL, mapper=MAPPER, slots=2, dim=8, decode=DECODE)


def prompts(texts: Sequence[str]) -> list[list[int]]:
    rows = LANGUAGE_MODEL.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [[AUDIO_SLOT, AUDIO_SLOT, *ids] for ids in rows]


def embeddings(rows: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng([rows, seed]).standard_normal((rows, 8)).astype(np.float32)


def test_the_words_are_those_of_the_search_with_the_mapped_vectors_in_the_slots() -> None:
    given, rows = prompts(SENTENCES[:4]), embeddings(4)
    with torch.inference_mode():
        ids = generate(LANGUAGE_MODEL, given, MAPPER(torch.from_numpy(rows)), DECODE)
    texts = [" ".join(LANGUAGE_MODEL.tokenizer.decode(row, skip_special_tokens=True).split()) for row in ids]
    assert GENERATOR.generate(given, rows, beams=2) == [[text] for text in texts]
    assert GENERATOR.generate(given, embeddings(4, seed=1), beams=2) != [[text] for text in texts]


@settings(deadline=None, max_examples=8, derandomize=True)
@given(texts=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), beams=st.integers(1, 4), data=st.data())
def test_a_clip_does_not_see_its_neighbours(texts: list[str], beams: int, data: st.DataObject) -> None:
    count, rows = data.draw(st.integers(1, beams)), embeddings(len(texts))
    together = GENERATOR.generate(prompts(texts), rows, beams=beams, count=count)
    alone = [
        GENERATOR.generate(prompts([text]), rows[[i]], beams=beams, count=count)[0] for i, text in enumerate(texts)
    ]
    assert together == alone
    assert all(1 <= len(found) <= count for found in together)


def test_one_search_gives_the_same_best_caption_however_many_are_asked_for() -> None:
    given, rows = prompts(SENTENCES[:5]), embeddings(5)
    best = [found[0] for found in GENERATOR.generate(given, rows, beams=4)]
    assert [found[0] for found in GENERATOR.generate(given, rows, beams=4, count=4)] == best


def test_no_prompts_give_nothing_but_too_many_beams_are_refused_all_the_same() -> None:
    limit = LANGUAGE_MODEL.vocabulary // 2
    assert GENERATOR.generate([], embeddings(0), beams=limit) == []
    with pytest.raises(OptionError, match=f"{limit + 1} beams .* {limit}"):
        GENERATOR.generate([], embeddings(0), beams=limit + 1)


@pytest.mark.parametrize(
    ("mapper", "slots", "dim", "message"),
    [
        (None, 1, 8, "1 audio slots and there is no mapper"),
        (MAPPER, 1, 8, "8 dimensions into 2 x 32, but .* ask for 8 into 1 x 32"),
        (MAPPER, 2, 9, "ask for 9 into 2 x 32"),
        (Mapper(8, 31, slots=2), 2, 8, "8 dimensions into 2 x 31"),
    ],
)
def test_parts_that_do_not_fit_are_refused(mapper: Mapper | None, slots: int, dim: int, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        SoftPromptGenerator(language_model=LANGUAGE_MODEL, mapper=mapper, slots=slots, dim=dim, decode=DECODE)


def test_prompts_of_words_alone_need_no_mapper() -> None:
    plain = SoftPromptGenerator(language_model=LANGUAGE_MODEL, mapper=None, slots=0, dim=8, decode=DECODE)
    words = [row[2:] for row in prompts(SENTENCES[:2])]
    assert plain.generate(words, embeddings(2), beams=1) == plain.generate(words, embeddings(2, seed=3), beams=1)
