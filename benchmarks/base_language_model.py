"""A small language model to start from, so that "frozen" and "LoRA" mean something: it knows words, but no sounds.

It reads documents of one to five captions of one scene, in the style of either domain, over the classes of both mixed:
every word and every manner of both domains, paraphrases standing together as they do in any text, and no embedding. Its
scenes are drawn from seeds of their own; short sentences of a small grammar recur all the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from benchmarks.domains import DOMAINS
from recipes.pocket.recipe import decoder_config, load_tokenizer, train_tokenizer
from sonogloss.soundscapes.captions import silent_scene

DOCUMENTS, SEED = 30_000, 7_000_000
BLOCK, BATCH, RATE = 128, 32, 2e-3


def base_language_model(directory: Path, seed: int, steps: int) -> Path:
    """Train tokenizer and model of a seed, once; a directory as transformers saves it."""
    path = directory / f"base-{seed}-{steps}"
    if (path / "tokenizer.json").exists():
        return path
    texts = list(documents(SEED + seed))
    tokenizer = train_tokenizer(texts)
    torch.manual_seed(seed)
    config = decoder_config(len(tokenizer))
    config.n_layer, config.n_embd, config.n_head, config.n_positions = 3, 192, 6, 160
    model = GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")
    train(model, blocks(texts, tokenizer), steps, seed)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def load_base(path: Path) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model in float32 and its tokenizer."""
    return GPT2LMHeadModel.from_pretrained(path, dtype=torch.float32), load_tokenizer(path)


def documents(seed: int, count: int = DOCUMENTS) -> Iterator[str]:
    """Texts of one to five distinct captions, each with a period and a blank behind it."""
    rng, styles = np.random.default_rng(seed), [domain.style for domain in DOMAINS.values()]
    for _ in range(count):
        scene, style = silent_scene(rng), styles[rng.integers(len(styles))]
        told = dict.fromkeys(style(scene, rng) for _ in range(rng.integers(1, 6)))
        yield "".join(f"{caption}. " for caption in told)


def blocks(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """All documents between `<s>` and `</s>`, one behind the other, cut into blocks [n, BLOCK + 1]."""
    ids = [i for row in tokenizer(texts)["input_ids"] for i in row]
    return torch.tensor(ids[: len(ids) // (BLOCK + 1) * (BLOCK + 1)]).view(-1, BLOCK + 1)


def train(model: GPT2LMHeadModel, data: torch.Tensor, steps: int, seed: int) -> None:
    """Next-token prediction: AdamW, linear warm-up over a tenth of the steps, cosine to 0, bf16 autocast."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    generator, began = torch.Generator().manual_seed(seed), time.perf_counter()
    model.train()
    for step in range(steps):
        done = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, 10 * (step + 1) / steps) * 0.5 * (1 + math.cos(math.pi * done))
        rows = data[torch.randint(len(data), (BATCH,), generator=generator)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % max(1, steps // 10) == 0:
            pace = (step + 1) / (time.perf_counter() - began)
            print(f"base {seed}: step {step + 1}, loss {loss.item():.3f}, {pace:.1f} steps/s", flush=True)
    model.eval()
