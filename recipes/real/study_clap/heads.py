"""The two learned parts: a linear head over each tower, trained by contrast (symmetric InfoNCE) on features.

The audio head does not begin at random. The CNN comes with classifiers of sound-effects categories, whose names are
words; so the audio head begins as the mean of the names' text embeddings, weighted by the category probabilities, and
the text head as the identity. That start needs no pair of sound and text. What is learned is then mixed with it: the
start knows sounds that the few pairs do not name, and forgets none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """Every number of the training; chosen by leaving classes and clips out of the training pairs."""

    seed: int = 20
    steps: int = 120
    batch: int = 256
    learning_rate: float = 1e-3
    scale: float = 10.0
    category_weight: float = 4.0
    synthetic_share: float = 0.4
    learned_share: float = 0.6


class Heads(nn.Module):
    """What the towers give to audio and text embeddings, both unit rows.

    Args:
        center: [features + categories] of the training clips, which is subtracted.
        spread: [features + categories] what the rest is divided by.
        names: [categories, width] unit text embeddings of the categories' names.
        weight: of the categories at the start.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, center: Tensor, spread: Tensor, names: Tensor, *, weight: float = 1.0) -> None:
        super().__init__()
        categories, width = names.shape
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)
        self.of_audio = nn.Linear(len(center), width)
        self.of_text = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            self.of_audio.weight.zero_()[:, -categories:] = weight * names.T
            self.of_audio.bias.zero_()
            self.of_text.weight.copy_(torch.eye(width))
            self.of_text.bias.copy_(-names.mean(dim=0))

    def audio(self, rows: Tensor) -> Tensor:
        """Unit rows [n, width] of what the audio tower gives, [n, features + categories]."""
        return functional.normalize(self.of_audio((rows - self.center) / self.spread), dim=-1)

    def text(self, rows: Tensor) -> Tensor:
        """Unit rows [n, width] of the text tower's rows [n, width]."""
        return functional.normalize(self.of_text(rows), dim=-1)


def new_heads(audio: Tensor, names: Tensor, recipe: HeadRecipe) -> Heads:
    """Heads before any training, scaled for these training clips [n, features + categories]."""
    features = audio.shape[1] - len(names)
    spread = torch.ones(audio.shape[1])
    # All features together weigh as much as a dozen of them: the categories speak first.
    spread[:features] = (audio[:, :features].std(dim=0) + 0.05) * math.sqrt(features) / 4
    heads = Heads(audio.mean(dim=0), spread, names, weight=recipe.category_weight)
    heads.log_scale.data.fill_(math.log(recipe.scale))
    return heads


def contrast(audio: Tensor, text: Tensor, scale: Tensor, kinds: Sequence[str]) -> Tensor:
    """Symmetric InfoNCE over unit rows [n, d]; rows of one kind are no negatives of each other."""
    index = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    number = torch.tensor([index[kind] for kind in kinds])
    eye = torch.eye(len(number), dtype=torch.bool)
    logits = (scale * audio @ text.T).masked_fill((number[:, None] == number) & ~eye, -torch.inf)
    target = torch.arange(len(number))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Training clips, and the sentences that are true of each.

    Attributes:
        audio: [n, features + categories] what the audio tower gives.
        texts: [m, width] distinct sentences in the text tower's space.
        sentences: rows of `texts` that are true of each clip.
        kinds: clips of one kind sound alike: a class, or a clip of its own.
        synthetic: [n] whether a clip was rendered.
    """

    audio: Tensor
    texts: Tensor
    sentences: Sequence[Sequence[int]]
    kinds: Sequence[str]
    synthetic: Tensor


def train_heads(pairs: Pairs, names: Tensor, recipe: HeadRecipe) -> Heads:
    """Heads after the recipe's steps; the same pairs give the same heads on one kind of processor."""
    rng = torch.Generator().manual_seed(recipe.seed)
    heads = new_heads(pairs.audio[~pairs.synthetic], names, recipe)
    start = [parameter.detach().clone() for parameter in heads.parameters()]
    shares = torch.where(pairs.synthetic, recipe.synthetic_share / max(1, int(pairs.synthetic.sum())), 0.0)
    shares[~pairs.synthetic] = (1 - recipe.synthetic_share) / int((~pairs.synthetic).sum())
    optimizer = torch.optim.AdamW(heads.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    for step in range(recipe.steps):
        rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        optimizer.param_groups[0]["lr"] = rate
        rows = torch.multinomial(shares, recipe.batch, replacement=True, generator=rng)
        draws = torch.rand(recipe.batch, generator=rng).tolist()
        given = [pairs.sentences[row] for row in rows.tolist()]
        texts = pairs.texts[[each[int(draw * len(each))] for each, draw in zip(given, draws, strict=True)]]
        kinds = [pairs.kinds[row] for row in rows.tolist()]
        loss = contrast(heads.audio(pairs.audio[rows]), heads.text(texts), heads.log_scale.exp(), kinds)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        heads.log_scale.data.clamp_(0, math.log(100))
    for parameter, before in zip(heads.parameters(), start, strict=True):
        parameter.data.lerp_(before, 1 - recipe.learned_share)
    return heads.eval().requires_grad_(requires_grad=False)
