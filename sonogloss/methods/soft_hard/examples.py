"""Examples for soft and hard prompts: another caption's embedding, its labels with gaps, and noise (arXiv 2406.06295).

An example's embedding is that of a near neighbour of its caption (*instance replacement*). The labels of the hard
prompt are the nearest to that embedding, each left out by chance. Only then is noise added (*embedding augmentation*):
it is to blur the soft prompt, not to disturb the choice of labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sonogloss.decoding.sequences import Example
from sonogloss.errors import OptionError
from sonogloss.methods.examples import CaptionExamples
from sonogloss.methods.plan import TrainingData, TrainingPlan
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_examples, masked
from sonogloss.records import FloatArray, IntArray
from sonogloss.training.batches import Examples, noisy
from sonogloss.training.corpus import EmbeddedCaptions, fingerprint
from sonogloss.training.neighbours import nearest


class SoftHardExamples(CaptionExamples):
    """See :class:`~sonogloss.methods.examples.CaptionExamples`.

    The neighbors of the data are the rows of each caption's nearest captions [count, k], itself among them; without
    them they are looked up here. An example of a multilingual captioner has the text of one of the languages by chance.

    Raises:
        OptionError: also where labels, captions, targets and prompt do not go together.
    """

    settings: SoftHardSettings
    _prompt: SoftHardPrompt

    def __init__(self, plan: TrainingPlan, data: TrainingData) -> None:
        _check_parts(plan.prompt.label_count, data)
        super().__init__(plan, data)
        self._targets, self._languages = data.targets or {}, tuple(data.targets or ())
        what: tuple[Any, ...] = (self.settings, self._prompt, self._size, self._seed, sorted(self._targets.items()))
        what += ("chat",) * self._prompt.chat
        named = () if data.labels is None else (data.labels.labels, data.labels.embeddings.tobytes())
        self.fingerprint = fingerprint((*what, *named), data.captions, data.validation)
        neighbours = data.neighbours
        if neighbours is None and self.settings.neighbours > 1:
            neighbours, _ = nearest(data.captions, data.captions, count=self.settings.neighbours)
        own = np.arange(data.captions.count)[:, None]
        self._neighbours = own if neighbours is None else np.where(neighbours >= 0, neighbours, own)

    def at(self, step: int) -> Examples:
        """What a step learns from."""
        chosen, rng = self._chosen(step), np.random.default_rng([self._seed, step, 1])
        neighbours = self._neighbours[chosen, rng.integers(self._neighbours.shape[1], size=len(chosen))]
        clean = self._data.captions.vectors(neighbours)
        names = [masked(row, self.settings.mask, rng) for row in self._names(clean)]
        if not self._targets:
            return self._compose(self._data.captions.texts(chosen), names, self._blurred(clean, rng))
        languages = [self._languages[i] for i in rng.integers(len(self._languages), size=len(chosen))]
        texts = [self._targets[language][row] for language, row in zip(languages, chosen, strict=True)]
        return self._compose(texts, names, self._blurred(clean, rng), languages)

    def _held_out(self, captions: EmbeddedCaptions, rows: IntArray) -> Examples:
        """Validation captions have their own embedding, all their labels, and noise in place of the gap to audio."""
        clean = captions.vectors(rows)
        blurred = self._blurred(clean, np.random.default_rng([self._seed, 2]))
        return self._compose(captions.texts(rows), self._names(clean), blurred)

    def _names(self, embeddings: FloatArray) -> list[list[str]]:
        if self._data.labels is None:
            return [[] for _ in embeddings]
        return self._data.labels.names(embeddings, self._prompt.label_count)

    def _blurred(self, embeddings: FloatArray, rng: np.random.Generator) -> FloatArray:
        variance = self.settings.noise_variance
        return noisy(embeddings, variance**0.5, rng) if variance > 0 else embeddings

    def _compose(
        self, texts: list[str], names: list[list[str]], embeddings: FloatArray, languages: list[str] | None = None
    ) -> Examples:
        tokenizer, max_tokens = self._data.tokenizer, self._data.max_tokens
        sequences = compose_soft_hard_examples(
            names, texts, self._prompt, tokenizer, languages=languages, max_tokens=max_tokens
        )
        return Examples(sequences=sequences, embeddings=embeddings)

    def _bare(self, texts: list[str]) -> list[Example]:
        return compose_soft_hard_examples([()] * len(texts), texts, self._prompt, self._data.tokenizer)


def _check_parts(wanted: int, data: TrainingData) -> None:
    """Do labels, captions and targets go with a prompt that names so many labels?"""
    labels, captions = data.labels, data.captions
    if wanted and labels is None:
        raise OptionError(f"The hard prompt names {wanted} labels and there are none.", "Give a list of labels.")
    if wanted and labels is not None:
        if labels.dim != captions.dim:
            raise OptionError(
                f"The captions have {captions.dim} dimensions and the labels {labels.dim}.",
                "Embed both with the same CLAP.",
            )
        if wanted > len(labels.labels):
            raise OptionError(
                f"The hard prompt names {wanted} labels and there are {len(labels.labels)}.", "Name more labels."
            )
    for language, texts in (data.targets or {}).items():
        if len(texts) != captions.count:
            raise OptionError(
                f"There are {len(texts)} targets in {language!r} for {captions.count} captions.",
                "Give one for each caption.",
            )
