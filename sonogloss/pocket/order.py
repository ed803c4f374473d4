r"""Teach the pocket CLAP the order of sounds, in two steps that add no layer.

After its first training the CLAP tells "a dog barks, then rain falls" from "rain falls, then a dog barks" no better
than chance: no negative ever asked for it, and the position biases by which its audio tower could tell early from late
lie flat. First it learns from pairs of single sounds, as any CLAP can (:mod:`sonogloss.temporal`, TeminAL's stage B).
That costs it what names do not tell: pace, pitch, distance. So its own training goes on then for a while, on scenes and
their captions, where every sequence's caption is there a second time with the events in another order (the temporal
negatives of TNCE, arXiv 2408.09269). By itself the second step teaches no order in that time.

python -m sonogloss.pocket --ordered            trains it, and a soft-hard captioner over it
python -m benchmarks.pocket_quality --clap pocket-training/clap-ordered --captioner pocket-training/soft-hard-ordered \
    --output bench-output/soft-hard-ordered-quality
python -m sonogloss.pocket --ordered --release  puts both into the package as `pocket:ordered`
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from transformers import ClapModel, PreTrainedTokenizerFast

from sonogloss.audio.mel import LogMel
from sonogloss.pocket.contrastive import make_optimiser, train_step
from sonogloss.pocket.mixing import batches
from sonogloss.pocket.recipe import PocketRecipe, save_clap
from sonogloss.pocket.release import ship_clap
from sonogloss.temporal.card import clap_card
from sonogloss.temporal.clips import soundscape_clips
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers, measure_clips
from sonogloss.temporal.post_train import post_train
from sonogloss.temporal.towers import Towers

CHECKPOINT_EVERY = 50  # steps
LARGEST = 10_000_000  # bytes
CARD = """---
license: apache-2.0
library_name: transformers
tags: [audio, clap, zero-shot-audio-classification]
---

# sonogloss pocket CLAP with a sense of order

The pocket CLAP, taught which of two sounds came first: an ordinary `ClapModel` directory of the same shape. Base for
`--captioner pocket:ordered`, judge for `caption --rerank pocket:ordered`. It knows the same **fifty everyday sounds**.

## Recipe

`python -m sonogloss.pocket --ordered`: from `pocket`, {pair_steps} steps on pairs of single rendered sounds (TeminAL's
stage B, `sonogloss post-train-clap`), then {steps} steps of {batch} scenes, with captions in another order as further
negatives. It heard nothing that `pocket` had not been made from: our own synthesis, and ESC-10 (folds 1 to 3).

## Scores

{scenes} held-out synthetic scenes, among their captions: {retrieval}; zero-shot over fifty classes of single events
{zero_shot:.3f}. Of "A followed by B" and "B followed by A" the true one is nearer to the sound in {order:.3f} of 200
pairs; chance is 0.5.

## Licence

Apache-2.0. The attribution of the real clips is due to their authors (`ATTRIBUTION.csv`).
"""


def learn_pairs(directory: Path, recipe: PocketRecipe) -> Path:
    """Post-train `directory/clap` on pairs of single sounds: `directory/clap-paired`."""
    finished = directory / "clap-paired"
    if (finished / "README.md").exists():
        return finished
    config = PostTrainConfig(
        stages=("B",), steps=recipe.order_pair_steps, precision="bf16", seed=recipe.order_pair_seed
    )
    towers = Towers(str(directory / "clap"), config)
    clips = soundscape_clips(recipe.order_clips, split="train-0")
    powers = ClipPowers([measure_clips(clips, LogMel(towers.mel), config.pairs)])
    base = {"name": "pocket", "fingerprint": towers.clap.fingerprint}
    record = post_train(towers, powers, config, str(finished / "training"), resume=True)
    towers.save(str(finished), clap_card(base, ["soundscapes"], record))
    return finished


def return_to_scenes(directory: Path, recipe: PocketRecipe, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Go on from `directory/clap-paired` to `directory/clap-ordered`; from a checkpoint when there is one."""
    finished = directory / "clap-ordered"
    if (finished / "model.safetensors").exists():
        return finished
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = ClapModel.from_pretrained(directory / "clap-paired", dtype=torch.float32)
    model.to(device)  # type: ignore[arg-type]  # torch's signature, hidden by a decorator
    optimiser = make_optimiser(model, recipe.order_learning_rate, recipe.clap_weight_decay)
    checkpoint, step = directory / "order-checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step = int(saved["step"])
    model.train()
    began, losses = time.monotonic(), list[float]()
    ahead = range(recipe.clap_steps + step, recipe.clap_steps + recipe.order_steps)  # scenes that it has not met yet
    for batch in batches(directory / "pool", recipe, ahead, size=recipe.order_batch, reordered=True):
        for group in optimiser.param_groups:
            group["lr"] = recipe.order_learning_rate * _schedule(step, recipe)
        losses.append(train_step(model, optimiser, tokenizer, batch, device))
        step += 1
        if step % 20 == 0:
            seconds, began = time.monotonic() - began, time.monotonic()
            loss = sum(losses[-20:]) / len(losses[-20:])
            print(f"order step {step}/{recipe.order_steps} loss {loss:.3f} {seconds / 20:.2f} s a step", flush=True)
        if step % CHECKPOINT_EVERY == 0:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, checkpoint)
    model.logit_scale_t.data.copy_(model.logit_scale_a.data)
    model.eval()
    save_clap(finished, model, tokenizer)
    return finished


def _schedule(step: int, recipe: PocketRecipe) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < recipe.order_warmup:
        return (step + 1) / recipe.order_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.order_warmup) / (recipe.order_steps - recipe.order_warmup)))


def release_ordered(directory: Path, reports: Path) -> None:
    """Copy `directory/clap-ordered` into the package, with a card of what `benchmarks.pocket_quality` measured."""
    measured = json.loads((reports / "soft-hard-ordered-quality" / "report.json").read_text())
    recipe = PocketRecipe()
    card = CARD.format(
        pair_steps=recipe.order_pair_steps,
        steps=recipe.order_steps,
        batch=recipe.order_batch,
        scenes=measured["scenes"],
        retrieval=", ".join(f"{name.upper()} {value:.3f}" for name, value in measured["retrieval"].items()),
        zero_shot=measured["zero_shot"],
        order=measured["order"],
    )
    ship_clap(directory / "clap-ordered", "clap-ordered", card, largest=LARGEST)
