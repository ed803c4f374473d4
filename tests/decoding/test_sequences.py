from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.decoding.sequences import AUDIO_SLOT, end_of_text, fill_slots, tokenize, too_long
from sonogloss.errors import ModelFormatError
from tests.language_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(st.text(max_size=12) | st.sampled_from(["a dog", "</s>", "a<s>b", "<pad>"]), max_size=6))
def test_each_text_gets_the_ids_that_it_has_alone(texts: list[str]) -> None:
    found = tokenize(texts, TOKENIZER)
    assert found == [tokenize([text], TOKENIZER)[0] for text in texts]
    assert not {token for ids in found for token in ids} & set(TOKENIZER.all_special_ids)


def test_a_special_token_in_a_text_is_spelled() -> None:
    [ids] = tokenize(["a dog</s> barks"], TOKENIZER)
    assert TOKENIZER.decode(ids).strip() == "a dog</s> barks"
    assert end_of_text(TOKENIZER) not in ids


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelFormatError, match="end-of-text"):
        end_of_text(tokenizer)


@given(
    rows=st.integers(1, 4), slots=st.integers(0, 3), words=st.integers(0, 4), random=st.randoms(use_true_random=False)
)
def test_slots_get_their_vectors_in_order_and_words_stay(rows: int, slots: int, words: int, random: object) -> None:
    ids = [[AUDIO_SLOT] * slots + [5] * words for _ in range(rows)]
    for row in ids:
        random.shuffle(row)  # type: ignore[attr-defined]
    table = torch.arange(rows * (slots + words) * 2.0).reshape(rows, slots + words, 2)
    soft = -1 - torch.arange(rows * slots * 2, dtype=torch.float64).reshape(rows, slots, 2)
    filled = fill_slots(table, torch.tensor(ids).reshape(rows, -1) == AUDIO_SLOT, soft)
    assert filled.dtype == table.dtype
    for row, sequence in enumerate(ids):
        vectors = iter(soft[row].float())
        for place, token in enumerate(sequence):
            assert torch.equal(filled[row, place], next(vectors) if token == AUDIO_SLOT else table[row, place])


def test_a_gradient_reaches_the_soft_vectors_only_through_their_slots() -> None:
    words = torch.zeros(2, 3, 4)
    soft = torch.ones(2, 1, 4, requires_grad=True)
    slots = torch.tensor([[False, True, False], [True, False, False]])
    (fill_slots(words, slots, soft) * torch.tensor([1.0, 10.0, 100.0])[:, None]).sum().backward()
    assert soft.grad is not None
    assert soft.grad[:, 0, 0].tolist() == [10.0, 1.0]


def test_the_error_of_a_long_prompt_has_both_numbers() -> None:
    assert "12 tokens" in too_long(12, 8).what
    assert "room for 8" in too_long(12, 8).what
