from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.decoding.generate import generate
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import OptionError
from sonogloss.prompts.composed import AUDIO_SLOT
from sonogloss.prompts.soft import fill_slots
from tests.language_models import tiny_language_model

MODELS = {kind: tiny_language_model(kind) for kind in ("gpt2", "llama")}
prompt_lists = st.lists(st.lists(st.integers(3, 319), min_size=1, max_size=24), min_size=1, max_size=7)


def _with_slot(words: list[int]) -> list[int]:
    return [*words[: len(words) // 2], AUDIO_SLOT, *words[len(words) // 2 :]]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("beams", [1, 3])
@settings(deadline=None, max_examples=12, derandomize=True)
@given(words=prompt_lists)
def test_a_batch_gives_what_each_prompt_gives_alone(kind: str, beams: int, words: list[list[int]]) -> None:
    model = MODELS[kind]
    prompts = [_with_slot(w) for w in words]
    soft = torch.randn(len(prompts), 1, model.width, generator=torch.Generator().manual_seed(len(prompts)))
    one = DecodeSettings(num_beams=beams, max_new_tokens=8, batch_size=1)
    many = DecodeSettings(num_beams=beams, max_new_tokens=8, batch_size=4)
    assert generate(model, prompts, soft, many) == generate(model, prompts, soft, one)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_greedy_search_is_the_best_token_again_and_again(kind: str) -> None:
    model = MODELS[kind]
    prompts = [[5, AUDIO_SLOT, 9], [5, 6, 7, AUDIO_SLOT, 10, 11, 12]]
    soft = torch.randn(2, 1, model.width)
    found = generate(model, prompts, soft, DecodeSettings(num_beams=1, max_new_tokens=6))
    assert found == [_greedy(model, prompt, soft[i], 6) for i, prompt in enumerate(prompts)]


@torch.no_grad()
def _greedy(model: LanguageModel, prompt: list[int], soft: torch.Tensor, steps: int) -> list[int]:
    table = model.model.get_input_embeddings()
    slots = torch.tensor([prompt]) == AUDIO_SLOT
    vectors = fill_slots(table(torch.tensor([prompt]).clamp(min=0)), slots, soft[None])
    new: list[int] = []
    for _ in range(steps):
        token = int(model.model(inputs_embeds=vectors).logits[0, -1].argmax())
        if token == model.eos_id:
            break
        new.append(token)
        vectors = torch.cat([vectors, table(torch.tensor([[token]]))], dim=1)
    return new


def test_no_prompts_give_no_captions() -> None:
    model = MODELS["gpt2"]
    assert generate(model, [], torch.empty(0, 1, model.width), DecodeSettings()) == []


def test_a_tokenizer_without_bos_and_pad_decodes() -> None:
    model = tiny_language_model(bos=False)
    assert (model.bos_id, model.pad_id) == (None, model.eos_id)
    found = generate(
        model,
        [[AUDIO_SLOT, 5], [5, 6, 7, AUDIO_SLOT]],
        torch.randn(2, 1, model.width),
        DecodeSettings(max_new_tokens=4),
    )
    assert [len(ids) for ids in found] == [4, 4] or all(len(ids) <= 4 for ids in found)


def test_settings_are_checked() -> None:
    with pytest.raises(OptionError, match="num_beams"):
        DecodeSettings(num_beams=0)
