"""DRCap's examples: a caption, its own embedding, and similar captions from a datastore (arXiv 2410.09472)."""

from __future__ import annotations

import numpy as np

from sonogloss.decoding.sequences import Example
from sonogloss.errors import OptionError
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_examples, keeps_its_prompt
from sonogloss.methods.examples import CaptionExamples
from sonogloss.methods.plan import TrainingData, TrainingPlan
from sonogloss.records import FloatArray, IntArray
from sonogloss.training.batches import Examples, noisy
from sonogloss.training.corpus import EmbeddedCaptions, fingerprint, text_lengths
from sonogloss.training.neighbours import choose_contexts, draw_contexts


class DrcapExamples(CaptionExamples):
    """See :class:`~sonogloss.methods.examples.CaptionExamples`.

    The neighbors of the data are rows of the datastore [count, `settings.sampled`] that
    :func:`~sonogloss.training.neighbours.draw_contexts` sampled; without them they are sampled here.

    Raises:
        OptionError: also where captions change the prompt's tokens, or widths differ.
    """

    settings: DrcapSettings
    _prompt: ComposedPrompt

    def __init__(self, plan: TrainingPlan, data: TrainingData) -> None:
        super().__init__(plan, data)
        what = (self.settings, self._prompt, self._size, self._seed, *["chat"] * self._prompt.chat)
        self.fingerprint = fingerprint(what, data.captions, data.datastore, data.validation)
        self._check_prompt()
        self._sampled = self._sample(data.captions) if data.neighbours is None else data.neighbours
        # The last one is that of row -1: no caption.
        self._datastore_lengths = np.append(text_lengths(data.datastore), 0)
        self._contexts = self._sampled

    def at(self, step: int) -> Examples:
        """What a step learns from."""
        chosen = self._chosen(step)
        embeddings = self._data.captions.vectors(chosen)
        if self.settings.noise_std_max > 0:
            rng = np.random.default_rng([self._seed, step, 1])
            std = rng.uniform(0, self.settings.noise_std_max, (len(chosen), 1)).astype(np.float32)
            embeddings = noisy(embeddings, std, rng)
        return self._compose(self._data.captions.texts(chosen), embeddings, self._contexts[chosen])

    def _held_out(self, captions: EmbeddedCaptions, rows: IntArray) -> Examples:
        """Validation captions have contexts of their own and no noise."""
        contexts = self._sample(captions)[rows, : self.settings.contexts]
        return self._compose(captions.texts(rows), captions.vectors(rows), contexts)

    def _begin(self, epoch: int, rng: np.random.Generator) -> IntArray:
        self._contexts = choose_contexts(self._sampled, self.settings.contexts, seed=self._seed, epoch=epoch)
        if self.settings.context_dropout > 0:
            dropped = rng.random(self._data.captions.count) < self.settings.context_dropout
            self._contexts = np.where(dropped[:, None], -1, self._contexts)
        return self._lengths + self._datastore_lengths[self._contexts].sum(axis=1)

    def _sample(self, captions: EmbeddedCaptions) -> IntArray:
        count, band = self.settings.sampled, self.settings.band
        return draw_contexts(captions, self._data.datastore, count=count, band=band, seed=self._seed)

    def _compose(self, texts: list[str], embeddings: FloatArray, contexts: IntArray) -> Examples:
        places = contexts >= 0
        shown = iter(self._data.datastore.texts(contexts[places]))
        lists = [[next(shown) for _ in range(number)] for number in places.sum(axis=1)]
        tokenizer, max_tokens = self._data.tokenizer, self._data.max_tokens
        sequences = compose_examples(lists, texts, self._prompt, tokenizer, max_tokens=max_tokens)
        return Examples(sequences=sequences, embeddings=embeddings)

    def _bare(self, texts: list[str]) -> list[Example]:
        return compose_examples([()] * len(texts), texts, self._prompt, self._data.tokenizer)

    def _check_prompt(self) -> None:
        some = self._data.captions.texts(self._rows[:1000])
        changed = sum(not keeps_its_prompt(caption, self._prompt, self._data.tokenizer) for caption in some)
        if changed > 0.01 * len(some):
            raise OptionError(
                f"With {changed} of {len(some)} captions the prompt's last token changes when one follows.",
                'Let the template end in a mark or letter, and begin the answer with its blank: answer=" {answer}".',
            )
