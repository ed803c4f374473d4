"""What one step learns from: sequences and embeddings, in which order, and as tensors.

Everything random is a function of the seed, the epoch and the step, so a run that goes on after a checkpoint needs no
state but its step's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sonogloss.bridge import add_noise
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example
from sonogloss.records import FloatArray
from sonogloss.training.corpus import IntArray

_WINDOW = 16  # batches over which examples of like length are brought together


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Sequences, and the embedding [d] that fills the audio slots of each."""

    sequences: Sequence[Example]
    embeddings: FloatArray

    @property
    def answers(self) -> int:
        """How many tokens are to be predicted."""
        return sum(sum(label != IGNORED for label in example.labels[1:]) for example in self.sequences)

    def part(self, number: int, parts: int) -> Examples:
        """One of so many parts, which differ by at most one sequence."""
        start, end = (len(self.sequences) * n // parts for n in (number, number + 1))
        return Examples(sequences=self.sequences[start:end], embeddings=self.embeddings[start:end])


class Source(Protocol):
    """What a method learns from; :class:`~sonogloss.methods.drcap.examples.DrcapExamples` is one."""

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        ...

    @property
    def slots(self) -> int:
        """Audio slots of a sequence; 0 when there is no soft prompt."""
        ...

    @property
    def left_out(self) -> int:
        """How many captions are too long for the language model."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many tokens the tokenizer knows."""
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of the settings and captions that decide the examples."""
        ...

    def at(self, step: int) -> Examples:
        """What the step of this number, counted from 0, learns from."""
        ...

    def held_out(self) -> list[Examples]:
        """What the validation loss is measured on, batch by batch; nothing without validation captions."""
        ...


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


def collate(examples: Examples) -> Batch:
    """Examples as tensors, padded on the right (what stands behind a token does not reach it)."""
    sequences = examples.sequences
    longest = max(len(example.ids) for example in sequences)
    ids = np.zeros((len(sequences), longest), np.int64)
    labels = np.full((len(sequences), longest), IGNORED, np.int64)
    for row, example in enumerate(sequences):
        ids[row, : len(example.ids)] = example.ids
        labels[row, : len(example.ids)] = example.labels
    slots = ids == AUDIO_SLOT
    following = np.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]  # the output at a position is about the next one
    positions = np.flatnonzero(following != IGNORED)
    return Batch(
        ids=torch.from_numpy(np.where(slots, 0, ids)),
        slots=torch.from_numpy(slots),
        embeddings=torch.from_numpy(np.ascontiguousarray(examples.embeddings, np.float32)),
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(following.reshape(-1)[positions]),
    )


def epoch_plan(rows: IntArray, lengths: IntArray, size: int, rng: np.random.Generator) -> list[IntArray]:
    """An epoch's batches: `rows` in random order, each once; an incomplete last batch is left out.

    Args:
        rows: what to put in order.
        lengths: how long each row of all captions is. Within a window of batches examples of like length go together,
            as padding costs as much as words do.
        size: rows a batch.
        rng: decides the order.
    """
    order = rng.permutation(rows)[: len(rows) // size * size]
    plan: list[IntArray] = []
    for start in range(0, len(order), _WINDOW * size):
        window = order[start : start + _WINDOW * size]
        batches = window[np.argsort(lengths[window], kind="stable")].reshape(-1, size)
        plan.extend(rng.permutation(batches))
    return plan


def by_length(sequences: Sequence[Example], embeddings: FloatArray, size: int) -> list[Examples]:
    """Examples in batches of like length, for looking at all of them once."""
    order = np.argsort([len(example.ids) for example in sequences], kind="stable")
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [Examples(sequences=[sequences[i] for i in part], embeddings=embeddings[part]) for part in parts]


def noisy(embeddings: FloatArray, std: FloatArray | float, rng: np.random.Generator) -> FloatArray:
    """Unit embeddings [n, d] with Gaussian noise of this standard deviation [n, 1] a dimension, unit again."""
    draws = rng.standard_normal(embeddings.shape, np.float32)
    return add_noise(embeddings, np.asarray(std, np.float32) * draws, std=1.0)
