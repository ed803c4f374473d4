"""DRCap's examples: a caption, its own embedding, and similar captions from a datastore (arXiv 2410.09472)."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from sonogloss.errors import OptionError
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt, compose_examples, keeps_its_prompt
from sonogloss.methods.plan import TrainingData, TrainingPlan
from sonogloss.records import FloatArray
from sonogloss.training.batches import Examples, by_length, epoch_plan, noisy
from sonogloss.training.corpus import EmbeddedCaptions, IntArray, fingerprint, rows_that_fit, text_lengths
from sonogloss.training.neighbours import choose_contexts, draw_contexts


def make_examples(plan: TrainingPlan, data: TrainingData) -> DrcapExamples:
    """The examples of a plan; see :class:`~sonogloss.methods.plan.MethodTraining`."""
    return DrcapExamples(
        captions=data.captions,
        datastore=data.datastore,
        prompt=plan.prompt,
        tokenizer=data.tokenizer,
        settings=plan.settings,
        batch_size=plan.training.batch_size,
        seed=plan.training.seed,
        max_tokens=data.max_tokens,
        validation=data.validation,
        neighbours=data.neighbours,
    )


class DrcapExamples:
    """The examples of a DRCap training, by step; see :class:`~sonogloss.training.batches.Source`.

    Args:
        captions: to learn from.
        datastore: where similar captions come from.
        prompt: the layout of a sequence.
        tokenizer: the language model's.
        settings: the method's numbers.
        batch_size: captions a step; all of them when there are fewer.
        seed: of everything random.
        max_tokens: the longest sequence that the language model takes; captions that are longer without retrieved ones
            are left out, of others the last retrieved captions are dropped until they fit. None where it has no limit.
        validation: held-out captions, shown datastore captions as in training.
        neighbours: rows of the datastore [count, `settings.sampled`] that
            :func:`~sonogloss.training.neighbours.draw_contexts` sampled for each caption, when that was done before.

    Raises:
        OptionError: there are no captions or none fits, widths differ, or captions change the prompt's tokens.
    """

    def __init__(
        self,
        *,
        captions: EmbeddedCaptions,
        datastore: EmbeddedCaptions,
        prompt: ComposedPrompt,
        tokenizer: PreTrainedTokenizerBase,
        settings: DrcapSettings,
        batch_size: int,
        seed: int,
        max_tokens: int | None,
        validation: EmbeddedCaptions | None = None,
        neighbours: IntArray | None = None,
    ) -> None:
        self.settings, self.dim, self.slots = settings, captions.dim, prompt.audio_slots
        self.vocabulary = len(tokenizer)
        self._captions, self._datastore, self._validation = captions, datastore, validation
        self._prompt, self._tokenizer, self._max_tokens, self._seed = prompt, tokenizer, max_tokens, seed
        self._rows = rows_that_fit(captions, self._bare_lengths, max_tokens)
        self.left_out = captions.count - len(self._rows)
        self._size = min(batch_size, len(self._rows))
        self.fingerprint = fingerprint((settings, prompt, self._size, seed), captions, datastore, validation)
        self._check_prompt()
        self._sampled = self._sample(captions) if neighbours is None else neighbours
        self._lengths = text_lengths(captions)
        self._datastore_lengths = np.append(text_lengths(datastore), 0)  # the last one is that of row -1: no caption
        self._epoch, self._plan = -1, list[IntArray]()
        self._contexts = self._sampled

    def at(self, step: int) -> Examples:
        """What a step learns from. An epoch leaves its incomplete last batch out."""
        epoch, number = divmod(step, len(self._rows) // self._size)
        if epoch != self._epoch:
            self._begin(epoch)
        chosen = self._plan[number]
        embeddings = self._captions.vectors(chosen)
        if self.settings.noise_std_max > 0:
            rng = np.random.default_rng([self._seed, step, 1])
            std = rng.uniform(0, self.settings.noise_std_max, (len(chosen), 1)).astype(np.float32)
            embeddings = noisy(embeddings, std, rng)
        return self._compose(self._captions.texts(chosen), embeddings, self._contexts[chosen])

    def held_out(self) -> list[Examples]:
        """The validation captions with contexts of their own and without noise."""
        if self._validation is None:
            return []
        rows = rows_that_fit(self._validation, self._bare_lengths, self._max_tokens)
        contexts = self._sample(self._validation)[rows, : self.settings.contexts]
        examples = self._compose(self._validation.texts(rows), self._validation.vectors(rows), contexts)
        return by_length(examples.sequences, examples.embeddings, self._size)

    def _begin(self, epoch: int) -> None:
        """Choose the epoch's contexts and put its captions in order."""
        rng, count = np.random.default_rng([self._seed, epoch, 0]), self._captions.count
        self._epoch = epoch
        self._contexts = choose_contexts(self._sampled, self.settings.contexts, seed=self._seed, epoch=epoch)
        if self.settings.context_dropout > 0:
            dropped = rng.random(count) < self.settings.context_dropout
            self._contexts = np.where(dropped[:, None], -1, self._contexts)
        shown = self._datastore_lengths[self._contexts].sum(axis=1)
        self._plan = epoch_plan(self._rows, self._lengths + shown, self._size, rng)

    def _sample(self, captions: EmbeddedCaptions) -> IntArray:
        settings = self.settings
        return draw_contexts(captions, self._datastore, count=settings.sampled, band=settings.band, seed=self._seed)

    def _compose(self, texts: list[str], embeddings: FloatArray, contexts: IntArray) -> Examples:
        places = contexts >= 0
        shown = iter(self._datastore.texts(contexts[places]))
        lists = [[next(shown) for _ in range(number)] for number in places.sum(axis=1)]
        sequences = compose_examples(lists, texts, self._prompt, self._tokenizer, max_tokens=self._max_tokens)
        return Examples(sequences=sequences, embeddings=embeddings)

    def _bare_lengths(self, texts: list[str]) -> list[int]:
        bare = compose_examples([()] * len(texts), texts, self._prompt, self._tokenizer)
        return [len(example.ids) for example in bare]

    def _check_prompt(self) -> None:
        some = self._captions.texts(self._rows[:1000])
        changed = sum(not keeps_its_prompt(caption, self._prompt, self._tokenizer) for caption in some)
        if changed > 0.01 * len(some):
            raise OptionError(
                f"With {changed} of {len(some)} captions the prompt's last token changes when one follows.",
                'Let the template end in a mark or letter, and begin the answer with its blank: answer=" {answer}".',
            )
