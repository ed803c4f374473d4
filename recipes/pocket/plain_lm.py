"""Train a small plain language model: what `pocket:zeraucap` has in place of a general one.

ZerAuCap trains nothing; it takes a language model as it comes. None that comes is small enough to be shipped, so this
one is made here, and from what a general model would bring along and nothing else: how sentences about sounds go, and
that a text keeps to its subject. It reads paragraphs of the grammar in which a few sentences tell of parts of a scene
and the last one of all of it. It never reads a list of keywords, the prompt's `Objects:`, or anything of a sound.
Whether it can use keywords at inference is as open as it is for a large one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from recipes.pocket.recipe import BOS, EOS, PocketRecipe, decoder_config
from sonogloss.decoding.sequences import IGNORED, Example, tokenize
from sonogloss.soundscapes import CLASSES, Scene, caption
from sonogloss.soundscapes.captions import GERUND, clause, silent_scene
from sonogloss.soundscapes.signal import Rng
from sonogloss.training.batches import Examples
from sonogloss.training.config import TrainingConfig
from sonogloss.training.loop import TrainingRecord, train

LEFT_OUT = 0.2  # how often a paragraph tells of an event in its last sentence only
LEAD = 0.5  # how often the last sentence begins with words like a prompt's
_HELD_OUT = 8  # batches


def paragraphs(n: int, seed: int | Sequence[int], classes: Sequence[str] = tuple(CLASSES)) -> Iterator[str]:
    """Texts of a few sentences, each about one scene that was never rendered.

    ``rain is falling. a dog barks twice. this is a sound of a dog barking while rain falls.``
    """
    rng = np.random.default_rng(seed)
    for _ in range(n):
        scene = silent_scene(rng, classes)
        parts = [scene.events[i] for i in rng.permutation(len(scene.events)) if rng.random() >= LEFT_OUT]
        told = [caption(Scene(kind="one", events=(part,), duration_s=0.0, seed=0), rng) for part in parts]
        last = f"this is a sound of {_named(scene, rng)}" if rng.random() < LEAD else caption(scene, rng)
        yield " ".join(f"{sentence}." for sentence in [*told, last])


def _named(scene: Scene, rng: Rng) -> str:
    """A scene as a noun phrase: `a dog barking followed by a bell ringing`."""
    clauses = [clause(event, rng, finite=False)[0] for event in scene.events]
    return clauses[0] if len(clauses) == 1 else str(rng.choice(GERUND[scene.kind])).format(*clauses)


class Paragraphs:
    """Paragraphs as a source of the training loop: every step reads new ones, from `<s>` to `</s>`."""

    dim, slots, left_out = 1, 0, 0  # there is no soft prompt, and nothing is too long

    def __init__(self, tokenizer: PreTrainedTokenizerFast, batch_size: int, seed: int) -> None:
        self._tokenizer, self._batch_size, self._seed = tokenizer, batch_size, seed
        self.vocabulary = len(tokenizer)
        self.fingerprint = f"paragraphs {batch_size} {seed} {self.vocabulary}"

    def at(self, step: int) -> Examples:
        """What a step reads."""
        return self._examples([self._seed, 6, step])

    def held_out(self) -> list[Examples]:
        """What no step reads."""
        return [self._examples([self._seed, 7, number]) for number in range(_HELD_OUT)]

    def _examples(self, seed: Sequence[int]) -> Examples:
        rows = [[BOS, *ids, EOS] for ids in tokenize(list(paragraphs(self._batch_size, seed)), self._tokenizer)]
        sequences = [Example(ids=ids, labels=[IGNORED, *ids[1:]]) for ids in rows]
        return Examples(sequences=sequences, embeddings=np.zeros((len(sequences), self.dim), np.float32))


def train_plain_model(
    directory: Path, recipe: PocketRecipe, tokenizer: PreTrainedTokenizerFast
) -> tuple[GPT2LMHeadModel, TrainingRecord]:
    """Train from nothing; checkpoints and `loss.csv` go to the directory, and a run goes on from them."""
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(decoder_config(len(tokenizer), width=192, layers=2))
    config = TrainingConfig(
        steps=recipe.plain_steps,
        batch_size=recipe.plain_batch,
        learning_rate=recipe.plain_learning_rate,
        warmup_steps=recipe.plain_warmup,
        schedule="cosine",
        weight_decay=0.01,
        betas=(0.9, 0.98),
        grad_clip=1.0,
        precision="bfloat16",
        seed=recipe.seed,
        eval_every=250,
        checkpoint_every=50,
    )
    record = train(
        Paragraphs(tokenizer, config.batch_size, config.seed),
        language_model=model,
        mapper=None,
        config=config,
        directory=str(directory),
        resume=True,
        log=lambda line: print(f"plain: {line}", flush=True),
    )
    return model, record
