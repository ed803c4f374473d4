"""The loss that keeps other words where a plain sentence puts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels, word_embeddings
from sonogloss.tagging.features import WORDS_A_STEP, KeptWords
from sonogloss.tagging.tagger import plain_tagger

WORDS = ("whale", "thunder", "piano", "wind", "owl")


def vectors(clap: Clap, seed: int) -> torch.Tensor:
    width = word_embeddings(clap, "rain").shape[1]
    return torch.randn(4, width, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_the_distance_to_the_plain_sentence(tiny_clap: Clap) -> None:
    """All words are in every step where there are few; sets of prompts add up."""
    kept = KeptWords(tiny_clap, WORDS, 4)
    plain = plain_tagger(WORDS, tiny_clap).coarse
    prompts = [vectors(tiny_clap, seed) for seed in (0, 1)]
    expected = 0.0
    for one in prompts:
        moved = PromptedLabels(tiny_clap, WORDS, 4).encode(one).detach().numpy()
        expected += float(np.mean([1 - float(a @ b) for a, b in zip(moved, plain, strict=True)]))
    found = kept.loss(prompts, np.random.default_rng(0))
    assert found.item() == pytest.approx(expected, abs=1e-5)
    assert kept.loss(prompts[:1], np.random.default_rng(5)).item() < found.item()


def test_a_step_has_a_random_choice_of_many_words(tiny_clap: Clap) -> None:
    words = [f"{first}{second}" for first in ("owl", "bell", "train", "wind", "door") for second in "abcdefgh"]
    assert len(words) > WORDS_A_STEP
    kept, prompts = KeptWords(tiny_clap, words, 4), [vectors(tiny_clap, 0)]
    losses = [kept.loss(prompts, np.random.default_rng([1, step])).item() for step in range(40)]
    assert losses[3] == kept.loss(prompts, np.random.default_rng([1, 3])).item()
    assert len({round(loss, 6) for loss in losses}) > 20
    plain = plain_tagger(words, tiny_clap).coarse
    moved = PromptedLabels(tiny_clap, words, 4).encode(prompts[0]).detach().numpy()
    assert np.mean(losses) == pytest.approx(np.mean(1 - (moved * plain).sum(axis=1)), rel=0.1)


def test_gradients_reach_the_prompts_and_nothing_of_the_clap(tiny_clap: Clap) -> None:
    prompts = [vectors(tiny_clap, seed).requires_grad_(True) for seed in (0, 1)]
    KeptWords(tiny_clap, WORDS, 4).loss(prompts, np.random.default_rng(0)).backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in prompts)
    model = tiny_clap.model  # type: ignore[attr-defined]
    assert all(parameter.grad is None for parameter in model.parameters())
