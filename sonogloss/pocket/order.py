"""Teach the pocket CLAP the order of sounds: its own training goes on, with captions in another order as negatives.

After its first training the CLAP tells "a dog barks, then rain falls" from "rain falls, then a dog barks" no better
than chance: no negative ever asked for it, and the position biases by which its audio tower could tell early from late
lie flat. Two things change here, and no layer is added: every sequence's caption is there a second time with the events
in another order (the temporal negatives of TNCE, arXiv 2408.09269), and the last stage's position biases learn
`order_position_rate` times as fast as all else.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from transformers import ClapModel, PreTrainedTokenizerFast

from sonogloss.pocket.contrastive import train_step
from sonogloss.pocket.mixing import batches
from sonogloss.pocket.recipe import PocketRecipe, save_clap


def teach_order(directory: Path, recipe: PocketRecipe, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Go on from `directory/clap` to `directory/clap-ordered`; from its checkpoint when there is one."""
    finished = directory / "clap-ordered"
    if (finished / "model.safetensors").exists():
        return finished
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = ClapModel.from_pretrained(directory / "clap", dtype=torch.float32)
    model.to(device)  # type: ignore[arg-type]  # torch's signature, hidden by a decorator
    optimiser = _optimiser(model, recipe)
    checkpoint, step = directory / "clap-ordered-checkpoint.pt", 0
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
            group["lr"] = recipe.order_learning_rate * _schedule(step, recipe) * group["rate"]
        losses.append(train_step(model, optimiser, tokenizer, batch, device))
        step += 1
        if step % 20 == 0:
            seconds, began = time.monotonic() - began, time.monotonic()
            loss = sum(losses[-20:]) / 20
            print(f"order step {step}/{recipe.order_steps} loss {loss:.3f} {seconds / 20:.2f} s a step", flush=True)
        if step % 100 == 0:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, checkpoint)
    model.logit_scale_t.data.copy_(model.logit_scale_a.data)
    model.eval()
    save_clap(finished, model, tokenizer)
    return finished


def _optimiser(model: ClapModel, recipe: PocketRecipe) -> torch.optim.Optimizer:
    """AdamW; of all layers, only matrices decay, and the last stage's position biases have a rate of their own."""
    last = model.audio_model.audio_encoder.layers[-1]
    places = [p for name, p in last.named_parameters() if "relative_position_bias_table" in name]
    others = [p for p in model.parameters() if all(p is not place for place in places)]
    decay = recipe.clap_weight_decay
    return torch.optim.AdamW(
        [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": decay, "rate": 1.0},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "rate": 1.0},
            {"params": places, "weight_decay": 0.0, "rate": recipe.order_position_rate},
        ],
        lr=recipe.order_learning_rate,
        betas=(0.9, 0.98),
    )


def _schedule(step: int, recipe: PocketRecipe) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < recipe.order_warmup:
        return (step + 1) / recipe.order_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.order_warmup) / (recipe.order_steps - recipe.order_warmup)))
