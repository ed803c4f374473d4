"""The rule against repetition, against what it says, and in both searches that know it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.repetition import repeating, without_repetition
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError
from tests.language_models import tiny_gpt2, tiny_tokenizer


def repeats(ids: Sequence[int], size: int) -> bool:
    rows = [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
    return len(set(rows)) < len(rows)


@given(ids=st.lists(st.integers(0, 3), max_size=9), size=st.integers(1, 4))
def test_what_is_refused_would_repeat_and_nothing_else(ids: list[int], size: int) -> None:
    expected = {token for token in range(4) if repeats([*ids, token], size)} if not repeats(ids, size) else None
    found = repeating(ids, size)
    if expected is not None:
        assert found == expected
    logits = without_repetition(torch.zeros(1, 2, 4), torch.tensor([[ids, ids]]).reshape(1, 2, len(ids)), size)
    assert set(torch.nonzero(logits[0, 1].isinf()).flatten().tolist()) == found


@pytest.mark.parametrize("scoring", ["transformers", "average"])
def test_beams_hold_to_it(scoring: str) -> None:
    model = LanguageModel(model=tiny_gpt2(spread=0.6), tokenizer=tiny_tokenizer())
    prompts = [[0, 10, 11], [0, 12], [0, 13, 14, 15]]
    free = DecodeSettings(num_beams=2, max_new_tokens=30, scoring=scoring)  # type: ignore[arg-type]
    assert any(repeats(ids, 2) for ids in generate(model, prompts, None, free))
    held = DecodeSettings(num_beams=2, max_new_tokens=30, scoring=scoring, no_repeat_ngram=2)  # type: ignore[arg-type]
    found = generate(model, prompts, None, held)
    assert not any(repeats(ids, 2) for ids in found)
    assert found == [generate(model, [prompt], None, held)[0] for prompt in prompts]


def test_a_negative_row_is_refused() -> None:
    with pytest.raises(OptionError, match="no_repeat_ngram"):
        DecodeSettings(no_repeat_ngram=-1)
