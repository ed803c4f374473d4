"""What one step learns from: which captions, with which retrieved ones, laid out as tensors.

Everything random is a function of the seed, the epoch and the step, so a run that goes on after a checkpoint needs no
state but its step's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sonogloss.bridge import add_noise
from sonogloss.prompts.composed import AUDIO_SLOT, IGNORED, ComposedPrompt, Example, compose_examples
from sonogloss.records import FloatArray
from sonogloss.training.config import DrcapTrainingConfig
from sonogloss.training.corpus import TextCorpus
from sonogloss.training.neighbours import IntArray, draw_contexts

_WINDOW = 16  # batches over which examples of like length are brought together


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tensors of one step; b examples, padded on the right to length t.

    `ids` [b, t] with 0 at audio slots and padding, `slots` [b, t] is true at audio slots, `embeddings` [b, d];
    `positions` are the places in the flattened [b * t] whose output predicts `targets`.
    """

    ids: Tensor
    slots: Tensor
    embeddings: Tensor
    positions: Tensor
    targets: Tensor


class Batches:
    """The batches of a training run, by number.

    Args:
        corpus: what to learn from.
        prompt: the layout of a sequence.
        tokenizer: the language model's.
        config: the run's numbers.
        max_tokens: the longest sequence that the language model takes; captions at the end of a longer one are dropped.
    """

    def __init__(
        self,
        corpus: TextCorpus,
        prompt: ComposedPrompt,
        tokenizer: PreTrainedTokenizerBase,
        config: DrcapTrainingConfig,
        max_tokens: int | None,
    ) -> None:
        self.corpus, self.prompt, self.tokenizer = corpus, prompt, tokenizer
        self.config, self.max_tokens = config, max_tokens
        self._epoch = -1
        self._contexts: IntArray = np.empty((0, 0), np.int64)
        self._plan: list[IntArray] = []
        self._dropped: set[int] = set()

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0. An epoch leaves its incomplete last batch out."""
        size = min(self.config.batch_size, len(self.corpus.captions))
        epoch, place = divmod(step, len(self.corpus.captions) // size)
        if epoch != self._epoch:
            self._begin(epoch, size)
        chosen = self._plan[place]
        examples = compose_examples(
            [self._contexts_of(int(i)) for i in chosen],
            [self.corpus.captions[i] for i in chosen],
            self.prompt,
            self.tokenizer,
            max_tokens=self.max_tokens,
        )
        noise = np.random.default_rng([self.config.seed, step, 1])
        return collate(examples, noisy(self.corpus.embeddings[chosen], self.config.noise_std_max, noise))

    def _begin(self, epoch: int, size: int) -> None:
        """Draw the epoch's contexts and put its captions in order."""
        config, corpus, count = self.config, self.corpus, len(self.corpus.captions)
        if self._epoch < 0 or config.redraw:
            self._contexts = draw_contexts(
                corpus.captions,
                corpus.embeddings,
                corpus.datastore_captions,
                corpus.datastore_embeddings,
                count=config.contexts,
                band=config.band,
                seed=config.seed + (epoch if config.redraw else 0),
            )
        self._epoch = epoch
        rng = np.random.default_rng([config.seed, epoch, 0])
        order = rng.permutation(count)[: count // size * size]
        self._dropped = set(np.flatnonzero(rng.random(count) < config.context_dropout).tolist())
        # Within a window of batches examples of like length go together, as padding costs as much as words do.
        self._plan = []
        for start in range(0, len(order), _WINDOW * size):
            window = order[start : start + _WINDOW * size]
            lengths = [len(self.corpus.captions[i]) + sum(map(len, self._contexts_of(int(i)))) for i in window]
            batches = window[np.argsort(lengths, kind="stable")].reshape(-1, size)
            self._plan.extend(rng.permutation(batches))

    def _contexts_of(self, i: int) -> list[str]:
        rows = [] if i in self._dropped else self._contexts[i]
        return [self.corpus.datastore_captions[row] for row in rows if row >= 0]


def collate(examples: Sequence[Example], embeddings: FloatArray) -> Batch:
    """Examples and their embeddings as tensors, padded on the right (what stands behind a token does not reach it)."""
    longest = max(len(example.ids) for example in examples)
    ids = np.zeros((len(examples), longest), np.int64)
    labels = np.full((len(examples), longest), IGNORED, np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        labels[row, : len(example.ids)] = example.labels
    slots = ids == AUDIO_SLOT
    following = np.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]  # the output at a position is about the next one
    positions = np.flatnonzero(following != IGNORED)
    return Batch(
        ids=torch.from_numpy(np.where(slots, 0, ids)),
        slots=torch.from_numpy(slots),
        embeddings=torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)),
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(following.reshape(-1)[positions]),
    )


def noisy(embeddings: FloatArray, std_max: float, rng: np.random.Generator) -> FloatArray:
    """Unit embeddings [n, d] with Gaussian noise whose width is drawn for each row from 0 to `std_max`, unit again."""
    if std_max == 0:
        return embeddings
    std = rng.uniform(0, std_max, (len(embeddings), 1)).astype(np.float32)
    return add_noise(embeddings, std * rng.standard_normal(embeddings.shape, np.float32), std=1.0)
