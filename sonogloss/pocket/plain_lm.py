"""Train a small plain language model: what `pocket:zeraucap` has in place of a general one.

ZerAuCap trains nothing; it takes a language model as it comes. None that comes is small enough to be shipped, so this
one is made here, and from what a general model would bring along and nothing else: how sentences about sounds go, and
that a text keeps to its subject. It reads paragraphs of the grammar in which a few sentences tell of parts of a scene
and the last one of all of it. It never reads a list of keywords, the prompt's `Objects:`, or anything of a sound.
Whether it can use keywords at inference is as open as it is for a large one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from sonogloss.pocket.recipe import BOS, EOS, PAD, PocketRecipe, decoder_config
from sonogloss.prompts.composed import tokenise
from sonogloss.soundscapes import CLASSES, Scene, caption
from sonogloss.soundscapes.captions import GERUND, clause, silent_scene
from sonogloss.soundscapes.signal import Rng

LEFT_OUT = 0.2  # how often a paragraph tells of an event in its last sentence only
LEAD = 0.5  # how often the last sentence begins with words like a prompt's
MAX_TOKENS = 96
_HELD_OUT, _LOG_EVERY = 512, 50


def paragraphs(n: int, seed: int, classes: Sequence[str] = tuple(CLASSES)) -> Iterator[str]:
    """Texts of a few sentences, each about one scene that was never rendered.

    ``rain is falling. a dog barks twice. this is a sound of a dog barking while rain falls.``
    """
    rng = np.random.default_rng([seed, 6])
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


def train_plain_model(
    recipe: PocketRecipe, tokenizer: PreTrainedTokenizerFast
) -> tuple[GPT2LMHeadModel, dict[str, float]]:
    """Train from nothing on paragraphs, every one read once; returns the model and what the run came to."""
    torch.manual_seed(recipe.seed)
    model = GPT2LMHeadModel(decoder_config(len(tokenizer), width=192, layers=2))
    model.set_attn_implementation("eager")  # with bfloat16 twice as fast as the fused kernel, on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    held_out = _batch(list(paragraphs(_HELD_OUT, recipe.seed + 5)), tokenizer)
    texts = paragraphs(recipe.plain_steps * recipe.plain_batch, recipe.seed + 4)
    started = time.perf_counter()
    for step in range(recipe.plain_steps):
        batch = _batch([next(texts) for _ in range(recipe.plain_batch)], tokenizer)
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % _LOG_EVERY == 0:
            print(f"plain: step {step + 1} loss {loss.item():.3f} {time.perf_counter() - started:.0f} s", flush=True)
    model.eval()
    with torch.inference_mode():
        validation = _loss(model, held_out).item()
    seconds = time.perf_counter() - started
    print(f"plain: held-out loss {validation:.3f} a token, {seconds:.0f} s", flush=True)
    return model, {"steps": recipe.plain_steps, "validation_loss": validation, "seconds": seconds}


def _rate(step: int, recipe: PocketRecipe) -> float:
    warm = min(1.0, (step + 1) / recipe.plain_warmup)
    return recipe.plain_learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.plain_steps))


def _batch(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Ids [n, t], BOS and EOS around each text, padded behind it."""
    rows = [[BOS, *ids, EOS][:MAX_TOKENS] for ids in tokenise(list(texts), tokenizer)]
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


def _loss(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    seen = ids[:, :-1]
    logits = model(input_ids=seen, attention_mask=(seen != PAD).long()).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
