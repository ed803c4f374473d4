"""The examples of a step: sequences and embeddings, their order, and their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sonogloss.bridge import add_noise
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED, Example
from sonogloss.records import FloatArray, IntArray

_WINDOW = 16  # batches within which examples are sorted by length


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Sequences, and the embedding [d] for the audio slots of each."""

    sequences: Sequence[Example]
    embeddings: FloatArray

    @property
    def answers(self) -> int:
        """Number of tokens that are predicted."""
        return sum(sum(label != IGNORED for label in example.labels[1:]) for example in self.sequences)

    def part(self, number: int, parts: int) -> Examples:
        """One of `parts` parts, whose sizes differ by at most one."""
        start, end = (len(self.sequences) * n // parts for n in (number, number + 1))
        return Examples(sequences=self.sequences[start:end], embeddings=self.embeddings[start:end])


class Source(Protocol):
    """The examples of a training, for example :class:`~sonogloss.methods.drcap.examples.DrcapExamples`.

    Everything random in them is a function of the seed and the step.
    """

    @property
    def dim(self) -> int:
        """Width of the embeddings."""

    @property
    def slots(self) -> int:
        """Audio slots of a sequence; 0 without a soft prompt."""

    @property
    def left_out(self) -> int:
        """Number of captions that are too long for the language model."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens of the tokenizer."""

    @property
    def fingerprint(self) -> str:
        """A digest of the settings and captions that the examples follow from."""

    def at(self, step: int) -> Examples:
        """The examples of a step, counted from 0."""

    def held_out(self) -> list[Examples]:
        """The batches of the validation loss; none without validation captions."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tensors of b examples, padded on the right to length t.

    Attributes:
        ids: [b, t], 0 at audio slots and padding.
        slots: [b, t], true at audio slots.
        embeddings: [b, d].
        positions: indices into [b * t] of the outputs that predict `targets`.
        targets: token ids.
    """

    ids: Tensor
    slots: Tensor
    embeddings: Tensor
    positions: Tensor
    targets: Tensor


def collate(examples: Examples) -> Batch:
    """Examples as tensors. Padding on the right is invisible to the tokens before it."""
    sequences = examples.sequences
    longest = max(len(example.ids) for example in sequences)
    ids = np.zeros((len(sequences), longest), np.int64)
    labels = np.full((len(sequences), longest), IGNORED, np.int64)
    for row, example in enumerate(sequences):
        ids[row, : len(example.ids)] = example.ids
        labels[row, : len(example.ids)] = example.labels
    slots = ids == AUDIO_SLOT
    following = np.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]  # the output at a position predicts the next token
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

    Within a window of batches, examples of similar length share a batch, since padding costs as much as words.

    Args:
        rows: of the captions.
        lengths: [captions] length of every caption, whether it is in `rows` or not.
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
    """All examples, in batches of similar length."""
    order = np.argsort([len(example.ids) for example in sequences], kind="stable")
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [Examples(sequences=[sequences[i] for i in part], embeddings=embeddings[part]) for part in parts]


def noisy(embeddings: FloatArray, std: FloatArray | float, rng: np.random.Generator) -> FloatArray:
    """Unit embeddings [n, d] plus Gaussian noise of this standard deviation [n, 1] a dimension, normalized again."""
    draws = rng.standard_normal(embeddings.shape, np.float32)
    return add_noise(embeddings, np.asarray(std, np.float32) * draws, std=1.0)
