"""Train the pocket CLAP: symmetric InfoNCE between mixed scenes and their captions, from scratch."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from transformers import ClapModel, PreTrainedTokenizerFast

from recipes.pocket.mixing import Batch, batches
from recipes.pocket.recipe import PocketRecipe, clap_config, save_clap

MAX_SCALE = math.log(100)


def contrastive_loss(
    audio: torch.Tensor, text: torch.Tensor, log_scale: torch.Tensor, also_true: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE over unit rows `[n, d]`, in float32, with one temperature for both directions.

    `also_true[i, j]` pairs off the diagonal are left out of both softmaxes: they are no negatives.
    """
    logits = log_scale.exp() * audio @ text.T
    eye = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(also_true & ~eye, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def embed_mels(model: ClapModel, mels: torch.Tensor) -> torch.Tensor:
    """Unit audio embeddings `[n, d]` of decibel mels `[n, 1, 1024, 64]`."""
    pooled = model.audio_model(input_features=mels, is_longer=None).pooler_output
    return functional.normalize(model.audio_projection(pooled).float(), dim=-1)


def embed_tokens(model: ClapModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit text embeddings `[n, d]`."""
    pooled = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
    return functional.normalize(model.text_projection(pooled).float(), dim=-1)


def train_clap(
    directory: Path,
    recipe: PocketRecipe,
    tokenizer: PreTrainedTokenizerFast,
    validate: Callable[[ClapModel], dict[str, float]],
    validate_every: int = 300,
) -> Path:
    """Train to the recipe's last step, going on from `directory/clap-checkpoint.pt` when there is one.

    Writes `clap-curve.csv` as it goes and returns the finished ClapModel directory.
    """
    finished = directory / "clap"
    if (finished / "model.safetensors").exists():
        return finished
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    model = ClapModel(clap_config(len(tokenizer)))
    model.to(device)  # type: ignore[arg-type]  # torch's signature, hidden by a decorator
    optimiser = _optimiser(model, recipe)
    checkpoint, step = directory / "clap-checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step = int(saved["step"])
    else:
        (directory / "clap-curve.csv").unlink(missing_ok=True)

    model.train()
    began, running = time.monotonic(), math.nan
    for batch in batches(directory / "pool", recipe, step, recipe.clap_steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.clap_learning_rate * _schedule(step, recipe)
        loss = _step(model, optimiser, tokenizer, batch, device)
        running = loss if math.isnan(running) else 0.95 * running + 0.05 * loss
        step += 1
        if step % validate_every == 0 or step == recipe.clap_steps:
            torch.save(
                {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, f"{checkpoint}.tmp"
            )
            Path(f"{checkpoint}.tmp").replace(checkpoint)
            model.eval()
            scores = validate(model)
            model.train()
            _log(
                directory / "clap-curve.csv",
                {"step": step, "loss": running, "scale": float(model.logit_scale_a.detach().exp()), **scores},
            )
        if step % 20 == 0:
            rate = 20 * recipe.clap_batch / (time.monotonic() - began)
            print(f"clap step {step}/{recipe.clap_steps} loss {running:.3f} {rate:.0f} scenes/s", flush=True)
            began = time.monotonic()
    model.logit_scale_t.data.copy_(model.logit_scale_a.data)
    model.eval()
    save_clap(finished, model, tokenizer)
    return finished


def _step(
    model: ClapModel, optimiser: torch.optim.Optimizer, tokenizer: PreTrainedTokenizerFast, batch: Batch, device: str
) -> float:
    tokens = tokenizer(batch.captions, padding=True, truncation=True, return_tensors="pt").to(device)
    mels = torch.from_numpy(batch.mels).to(device).float()
    with torch.autocast(device, torch.bfloat16):
        audio = embed_mels(model, mels)
        text = embed_tokens(model, tokens["input_ids"], tokens["attention_mask"])
    loss = contrastive_loss(audio, text, model.logit_scale_a, torch.from_numpy(batch.also_true).to(device))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    model.logit_scale_a.data.clamp_(0, MAX_SCALE)
    return float(loss.detach())


def _optimiser(model: ClapModel, recipe: PocketRecipe) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.clap_weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.clap_learning_rate, betas=(0.9, 0.98))


def _schedule(step: int, recipe: PocketRecipe) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < recipe.clap_warmup:
        return (step + 1) / recipe.clap_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.clap_warmup) / (recipe.clap_steps - recipe.clap_warmup)))


def _log(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with open(path, "a", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: round(v, 5) for k, v in row.items()})
    print("validation", row, flush=True)
