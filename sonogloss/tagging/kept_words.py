"""A loss that keeps words that are no labels where they are.

Prompts learned on some labels move all other words too: behind a prompt for `rain`, `sea` comes near to rain. So in
every step some other words of the dump are encoded behind the prompts and pulled towards their embeddings in a plain
sentence. The released code has no such loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sonogloss.clap import Clap
from sonogloss.clap.prompted_text import PromptedLabels
from sonogloss.tagging.tagger import plain_tagger

WORDS_A_STEP = 16


class KeptWords:
    """Words, and their embeddings in plain sentences.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel.
        words: at least one.
        slots: vectors in front of a word.
    """

    def __init__(self, clap: Clap, words: Sequence[str], slots: int) -> None:
        self._words = PromptedLabels(clap, words, slots)
        self._plain = torch.from_numpy(plain_tagger(words, clap).coarse).to(self._words.device)

    def loss(self, prompts: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
        """1 - cosine of prompted and plain words, averaged over some random words and summed over sets of prompts."""
        count = len(self._plain)
        rows = torch.from_numpy(rng.choice(count, min(WORDS_A_STEP, count), replace=False)).to(self._plain.device)
        moved = [1 - (self._words.encode(vectors, rows) * self._plain[rows]).sum(dim=1) for vectors in prompts]
        return torch.stack([distances.mean() for distances in moved]).sum()
