"""Examples for soft and hard prompts: another caption's embedding, its labels with gaps, and noise (arXiv 2406.06295).

An example's embedding is that of a near neighbour of its caption (*instance replacement*). The labels of the hard
prompt are the nearest to that embedding, each left out by chance. Only then is noise added (*embedding augmentation*):
it is to blur the soft prompt, not to disturb the choice of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from sonogloss.errors import OptionError
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.plan import TrainingData, TrainingPlan
from sonogloss.methods.soft_hard.method import SoftHardSettings
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_examples, masked
from sonogloss.records import FloatArray
from sonogloss.training.batches import Examples, by_length, epoch_plan, noisy
from sonogloss.training.corpus import EmbeddedCaptions, IntArray, fingerprint, rows_that_fit, text_lengths
from sonogloss.training.neighbours import nearest


def make_examples(plan: TrainingPlan, data: TrainingData) -> SoftHardExamples:
    """The examples of a plan; see :class:`~sonogloss.methods.plan.MethodTraining`."""
    return SoftHardExamples(
        captions=data.captions,
        labels=data.labels,
        prompt=plan.prompt,
        tokenizer=data.tokenizer,
        settings=plan.settings,
        batch_size=plan.training.batch_size,
        seed=plan.training.seed,
        max_tokens=data.max_tokens,
        validation=data.validation,
        neighbours=data.neighbours,
        targets=data.targets,
    )


class SoftHardExamples:
    """The examples of a soft-hard training, by step; see :class:`~sonogloss.training.batches.Source`.

    Args:
        captions: to learn from.
        labels: what the hard prompt names; may be None when the prompt has no hard part.
        prompt: the layout of a sequence, and how many labels it names.
        tokenizer: the language model's.
        settings: the method's numbers.
        batch_size: captions a step; all of them when there are fewer.
        seed: of everything random.
        max_tokens: the longest sequence that the language model takes; of longer ones the last labels are dropped, and
            captions that are too long without labels are left out. None where it has no limit.
        validation: held-out captions; they keep their own embedding and all labels, and get noise as in training.
        neighbours: rows of each caption's nearest captions [count, k], itself among them, when they were looked up
            before by :func:`~sonogloss.training.neighbours.nearest`.
        targets: for a multilingual captioner, by language tag, the text of each caption in that language; an example
            has one of them by chance. Without them the captions themselves are the texts.

    Raises:
        OptionError: there are no captions or none fits, or labels, captions and prompt do not go together.
    """

    def __init__(
        self,
        *,
        captions: EmbeddedCaptions,
        labels: LabelBank | None,
        prompt: SoftHardPrompt,
        tokenizer: PreTrainedTokenizerBase,
        settings: SoftHardSettings,
        batch_size: int,
        seed: int,
        max_tokens: int | None,
        validation: EmbeddedCaptions | None = None,
        neighbours: IntArray | None = None,
        targets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.settings, self.dim, self.slots = settings, captions.dim, prompt.audio_slots
        self.vocabulary = len(tokenizer)
        self._captions, self._labels, self._validation = captions, labels, validation
        self._prompt, self._tokenizer, self._max_tokens, self._seed = prompt, tokenizer, max_tokens, seed
        self._targets, self._languages = targets or {}, tuple(targets or ())
        self._check_parts()
        self._rows = rows_that_fit(captions, self._bare_lengths, max_tokens)
        self.left_out = captions.count - len(self._rows)
        self._size = min(batch_size, len(self._rows))
        what: tuple[Any, ...] = (settings, prompt, self._size, seed, sorted(self._targets.items()))
        named = () if labels is None else (labels.labels, labels.embeddings.tobytes())
        self.fingerprint = fingerprint((*what, *named), captions, validation)
        if neighbours is None and settings.neighbours > 1:
            neighbours, _ = nearest(captions, captions, count=settings.neighbours)
        own = np.arange(captions.count)[:, None]
        self._neighbours = own if neighbours is None else np.where(neighbours >= 0, neighbours, own)
        self._lengths = text_lengths(captions)
        self._epoch, self._plan = -1, list[IntArray]()

    def at(self, step: int) -> Examples:
        """What a step learns from. An epoch leaves its incomplete last batch out."""
        epoch, number = divmod(step, len(self._rows) // self._size)
        if epoch != self._epoch:
            self._epoch = epoch
            rng = np.random.default_rng([self._seed, epoch, 0])
            self._plan = epoch_plan(self._rows, self._lengths, self._size, rng)
        chosen, rng = self._plan[number], np.random.default_rng([self._seed, step, 1])
        neighbours = self._neighbours[chosen, rng.integers(self._neighbours.shape[1], size=len(chosen))]
        clean = self._captions.vectors(neighbours)
        names = [masked(row, self.settings.mask, rng) for row in self._names(clean)]
        if not self._targets:
            return self._compose(self._captions.texts(chosen), names, self._blurred(clean, rng))
        languages = [self._languages[i] for i in rng.integers(len(self._languages), size=len(chosen))]
        texts = [self._targets[language][row] for language, row in zip(languages, chosen, strict=True)]
        return self._compose(texts, names, self._blurred(clean, rng), languages)

    def held_out(self) -> list[Examples]:
        """The validation captions with all their labels, and noise in place of the gap that audio will bring."""
        if self._validation is None:
            return []
        rows = rows_that_fit(self._validation, self._bare_lengths, self._max_tokens)
        clean = self._validation.vectors(rows)
        blurred = self._blurred(clean, np.random.default_rng([self._seed, 2]))
        examples = self._compose(self._validation.texts(rows), self._names(clean), blurred)
        return by_length(examples.sequences, examples.embeddings, self._size)

    def _names(self, embeddings: FloatArray) -> list[list[str]]:
        if self._labels is None:
            return [[] for _ in embeddings]
        return self._labels.names(embeddings, self._prompt.label_count)

    def _blurred(self, embeddings: FloatArray, rng: np.random.Generator) -> FloatArray:
        variance = self.settings.noise_variance
        return noisy(embeddings, variance**0.5, rng) if variance > 0 else embeddings

    def _compose(
        self, texts: list[str], names: list[list[str]], embeddings: FloatArray, languages: list[str] | None = None
    ) -> Examples:
        sequences = compose_soft_hard_examples(
            names, texts, self._prompt, self._tokenizer, languages=languages, max_tokens=self._max_tokens
        )
        return Examples(sequences=sequences, embeddings=embeddings)

    def _bare_lengths(self, texts: list[str]) -> list[int]:
        bare = compose_soft_hard_examples([()] * len(texts), texts, self._prompt, self._tokenizer)
        return [len(example.ids) for example in bare]

    def _check_parts(self) -> None:
        wanted = self._prompt.label_count
        if wanted and self._labels is None:
            raise OptionError(f"The hard prompt names {wanted} labels and there are none.", "Give a list of labels.")
        if wanted and self._labels is not None:
            if self._labels.dim != self.dim:
                raise OptionError(
                    f"The captions have {self.dim} dimensions and the labels {self._labels.dim}.",
                    "Embed both with the same CLAP.",
                )
            if wanted > len(self._labels.labels):
                raise OptionError(
                    f"The hard prompt names {wanted} labels and there are {len(self._labels.labels)}.",
                    "Name more labels.",
                )
        for language, texts in self._targets.items():
            if len(texts) != self._captions.count:
                raise OptionError(
                    f"There are {len(texts)} targets in {language!r} for {self._captions.count} captions.",
                    "Give one for each caption.",
                )
