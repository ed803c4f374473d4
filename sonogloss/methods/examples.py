"""What the examples of all methods share: the captions that fit, their order in every epoch, and the held-out ones."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from sonogloss.decoding.sequences import Example
from sonogloss.methods.plan import TrainingData, TrainingPlan
from sonogloss.records import IntArray
from sonogloss.training.batches import Examples, by_length, epoch_plan
from sonogloss.training.corpus import EmbeddedCaptions, rows_that_fit, text_lengths


class CaptionExamples(ABC):
    """The examples of a training, by step; see :class:`~sonogloss.training.batches.Source`.

    Captions that are too long without their optional parts are left out; of others the last such parts are.

    Args:
        plan: settings, prompt, batch size (all captions when there are fewer) and seed.
        data: the texts.

    Raises:
        OptionError: there are no captions or none fits, or the parts do not go together.
    """

    fingerprint: str

    def __init__(self, plan: TrainingPlan, data: TrainingData) -> None:
        self.settings, self.dim, self.slots = plan.settings, data.captions.dim, plan.prompt.audio_slots
        self.vocabulary = len(data.tokenizer)
        self._data, self._prompt, self._seed = data, plan.prompt, plan.training.seed
        self._rows = rows_that_fit(data.captions, self._bare_lengths, data.max_tokens)
        self.left_out = data.captions.count - len(self._rows)
        self._size = min(plan.training.batch_size, len(self._rows))
        self._lengths = text_lengths(data.captions)
        self._epoch, self._plan = -1, list[IntArray]()

    @abstractmethod
    def at(self, step: int) -> Examples:
        """What a step learns from, counted from 0. An epoch leaves its incomplete last batch out."""

    def held_out(self) -> list[Examples]:
        """The batches of the validation captions; none without some."""
        validation = self._data.validation
        if validation is None:
            return []
        rows = rows_that_fit(validation, self._bare_lengths, self._data.max_tokens)
        examples = self._held_out(validation, rows)
        return by_length(examples.sequences, examples.embeddings, self._size)

    @abstractmethod
    def _held_out(self, captions: EmbeddedCaptions, rows: IntArray) -> Examples:
        """The examples of these rows of the validation captions."""

    @abstractmethod
    def _bare(self, texts: list[str]) -> list[Example]:
        """The sequences of texts without their optional parts."""

    def _begin(self, epoch: int, rng: np.random.Generator) -> IntArray:
        """Choose what an epoch shows; returns the lengths that its batches are sorted by, for every caption."""
        return self._lengths

    def _chosen(self, step: int) -> IntArray:
        """The captions of a step."""
        epoch, number = divmod(step, len(self._rows) // self._size)
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch, 0])
            self._plan = epoch_plan(self._rows, self._begin(epoch, rng), self._size, rng)
            self._epoch = epoch
        return self._plan[number]

    def _bare_lengths(self, texts: list[str]) -> list[int]:
        return [len(example.ids) for example in self._bare(texts)]
