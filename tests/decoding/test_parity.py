"""The same captions as transformers' own `generate`, on random models of every family that captioners are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
)

from sonogloss.decoding.generate import generate, search
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.decoding.sequences import AUDIO_SLOT
from sonogloss.decoding.settings import DecodeSettings
from tests.language_models import tiny_tokenizer

VOCABULARY = 320
LIKE_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_positions=256, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        word_embed_proj_dim=32,
        init_std=0.3,
    ),
    "llama": lambda: LlamaConfig(**LIKE_LLAMA),
    "mistral": lambda: MistralConfig(**LIKE_LLAMA, sliding_window=9),
    "qwen2": lambda: Qwen2Config(**LIKE_LLAMA),
    "qwen2-sliding": lambda: Qwen2Config(**LIKE_LLAMA, use_sliding_window=True, sliding_window=9, max_window_layers=1),
}


@cache
def language_model(family: str) -> LanguageModel:
    """With an end-of-text token that is likely enough for captions of all lengths."""
    torch.manual_seed(1)
    config = CONFIGS[family]()
    config.bos_token_id, config.pad_token_id, config.eos_token_id = 0, 1, 2
    model = AutoModelForCausalLM.from_config(config).eval()
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(VOCABULARY))
    with torch.no_grad():
        head.bias[2] = 2 * head(torch.randn(64, 32)).std()
    return LanguageModel(model=model, tokenizer=tiny_tokenizer())


def by_transformers(
    model: LanguageModel, prompts: list[list[int]], soft: torch.Tensor, search: DecodeSettings, best: int
) -> list[list[list[int]]]:
    """The `best` captions of every prompt alone."""
    found = []
    for prompt, vectors in zip(prompts, soft, strict=True):
        table = model.model.get_input_embeddings()
        at = prompt.index(AUDIO_SLOT)
        words = table(torch.tensor(prompt).clamp(min=0))
        inputs = torch.cat([words[:at], vectors, words[at + 1 :]])[None]
        output = model.model.generate(
            inputs_embeds=inputs,
            attention_mask=torch.ones(inputs.shape[:2], dtype=torch.int64),
            generation_config=GenerationConfig(
                num_beams=search.num_beams,
                num_return_sequences=best,
                do_sample=False,
                max_new_tokens=search.max_new_tokens,
                bos_token_id=0,
                pad_token_id=1,
                eos_token_id=2,
            ),
        )
        found.append([ids[: ids.index(2)] if 2 in ids else ids for ids in output.tolist()])
    return found


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("beams", [1, 2, 4])
@settings(deadline=None, max_examples=4, derandomize=True)
@given(
    shared=st.lists(st.integers(3, VOCABULARY - 1), max_size=8),
    rests=st.lists(st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=16), min_size=1, max_size=4),
    longest=st.integers(1, 14),
    seed=st.integers(0, 2**16),
)
def test_captions_are_those_of_transformers(
    family: str, beams: int, shared: list[int], rests: list[list[int]], longest: int, seed: int
) -> None:
    model = language_model(family)
    prompts = [[*shared, *rest[: len(rest) // 2], AUDIO_SLOT, *rest[len(rest) // 2 :]] for rest in rests]
    soft = torch.randn(len(prompts), 1, model.width, generator=torch.Generator().manual_seed(seed))
    wanted = DecodeSettings(num_beams=beams, max_new_tokens=longest, batch_size=3)
    expected = by_transformers(model, prompts, soft, wanted, beams)
    assert generate(model, prompts, soft, wanted) == [found[0] for found in expected]
    ranked = search(model, prompts, soft, wanted, candidates=beams)
    assert [[candidate.ids for candidate in found] for found in ranked] == expected


@pytest.mark.parametrize("family", CONFIGS)
def test_captions_of_a_random_model_end_at_different_lengths(family: str) -> None:
    """What the test above stands on."""
    model = language_model(family)
    prompts = [[3 + i, 5 * i + 4, AUDIO_SLOT] for i in range(40)]
    soft = torch.randn(40, 1, model.width, generator=torch.Generator().manual_seed(1))
    for beams in (1, 4):
        lengths = {
            len(ids) for ids in generate(model, prompts, soft, DecodeSettings(num_beams=beams, max_new_tokens=14))
        }
        assert len(lengths) > 4, lengths
