"""Words that are no labels stay where they are.

Prompts that learn from some labels move all others too: what is learned to stand before `rain` makes rain of `sea`. So
words of the dump that are no label's are encoded behind the prompts as well, a few in every step, and pulled to where a
plain sentence puts them. This is ours; the released code has nothing of the kind.
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
    """Some words, and where plain sentences put them.

    Args:
        clap: a CLAP in the layout of transformers' ClapModel.
        words: at least one.
        slots: how many vectors stand before a word.
    """

    def __init__(self, clap: Clap, words: Sequence[str], slots: int) -> None:
        self._words = PromptedLabels(clap, words, slots)
        self._plain = torch.from_numpy(plain_tagger(words, clap).coarse).to(self._words.device)

    def loss(self, prompts: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
        """How far sets of prompts carry some words: 1 - cosine, averaged over the words and summed over the sets."""
        count = len(self._plain)
        rows = torch.from_numpy(rng.choice(count, min(WORDS_A_STEP, count), replace=False)).to(self._plain.device)
        moved = [1 - (self._words.encode(vectors, rows) * self._plain[rows]).sum(dim=1) for vectors in prompts]
        return torch.stack([distances.mean() for distances in moved]).sum()
