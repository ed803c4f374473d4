"""The two learned parts: a linear head over each tower, trained by contrast (symmetric InfoNCE) on features.

The audio head does not begin at random. The CNN comes with classifiers of sound-effects categories, whose names are
words; so the audio head begins as the mean of the names' text embeddings, weighted by the category probabilities, and
the text head as the identity. That start needs no pair of sound and text.

What is learned draws every sound to the texts of the few sounds learned from: they become hubs. So each text is also
held against the training clips, and what it has in common with those nearest to it counts against it, as in
cross-domain similarity local scaling (Conneau et al., ICLR 2018, section 2.3) and querybank normalization (Bogolin et
al., CVPR 2022). That is a number a text, and stands in a coordinate of its own, which is the same for every sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEAREST = 5  # clips that a text is held against
_LEVEL = 0.5  # an audio embedding's last coordinate, before it has unit length


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """Every number of the training; chosen by leaving classes and clips out of the training pairs."""

    seed: int = 20
    steps: int = 120
    batch: int = 256
    learning_rate: float = 1e-3
    scale: float = 3.0
    category_weight: float = 2.0
    synthetic_share: float = 0.4
    hub_weight: float = 0.6


class Heads(nn.Module):
    """What the towers give to audio and text embeddings, both unit rows one wider than a text tower's.

    Args:
        center: [features + categories] of the training clips, which is subtracted.
        spread: [features + categories] what the rest is divided by.
        names: [categories, width] unit text embeddings of the categories' names.
        weight: of the categories at the start.
        clips: how many training clips texts are held against; see `hold_against`.
    """

    center: Tensor
    spread: Tensor
    bank: Tensor
    typical: Tensor
    hub_weight: Tensor

    def __init__(self, center: Tensor, spread: Tensor, names: Tensor, *, weight: float = 1.0, clips: int = 0) -> None:
        super().__init__()
        categories, width = names.shape
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)
        self.register_buffer("bank", torch.zeros(clips, width))
        self.register_buffer("typical", torch.zeros(()))
        self.register_buffer("hub_weight", torch.zeros(()))
        self.of_audio = nn.Linear(len(center), width)
        self.of_text = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            self.of_audio.weight.zero_()[:, -categories:] = weight * names.T
            self.of_audio.bias.zero_()
            self.of_text.weight.copy_(torch.eye(width))
            self.of_text.bias.copy_(-names.mean(dim=0))

    @property
    def dim(self) -> int:
        """Width of both embeddings."""
        return self.of_text.out_features + 1

    def audio_direction(self, rows: Tensor) -> Tensor:
        """Unit rows [n, width] of what the audio tower gives, [n, features + categories]."""
        return functional.normalize(self.of_audio((rows - self.center) / self.spread), dim=-1)

    def text_direction(self, rows: Tensor) -> Tensor:
        """Unit rows [n, width] of the text tower's rows [n, width]."""
        return functional.normalize(self.of_text(rows), dim=-1)

    def audio(self, rows: Tensor) -> Tensor:
        """Audio embeddings [n, width + 1] of what the audio tower gives, [n, features + categories]."""
        directions = self.audio_direction(rows)
        return functional.normalize(functional.pad(directions, (0, 1), value=_LEVEL), dim=-1)

    def text(self, rows: Tensor) -> Tensor:
        """Text embeddings [n, width + 1] of the text tower's rows [n, width]."""
        directions = self.text_direction(rows)
        against = -self.hub_weight / _LEVEL * (self.nearness(directions) - self.typical)
        return functional.normalize(torch.cat([directions, against[:, None]], dim=-1), dim=-1)

    def nearness(self, directions: Tensor) -> Tensor:
        """The mean cosine [n] of text directions [n, width] to the nearest clips of the bank; 0 without a bank."""
        if not len(self.bank):
            return torch.zeros(len(directions))
        return (directions @ self.bank.T).topk(min(_NEAREST, len(self.bank)), dim=1).values.mean(dim=1)

    def hold_against(self, audio: Tensor, texts: Tensor, *, weight: float) -> None:
        """Make a bank of clips [n, features + categories] and see what sentences [m, width] have in common with it."""
        self.bank = self.audio_direction(audio)
        self.typical = self.nearness(self.text_direction(texts)).mean()
        self.hub_weight = torch.tensor(weight)


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
    real = pairs.audio[~pairs.synthetic]
    heads = new_heads(real, names, recipe)
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
        audio = heads.audio_direction(pairs.audio[rows])
        loss = contrast(audio, heads.text_direction(texts), heads.log_scale.exp(), kinds)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        heads.log_scale.data.clamp_(0, math.log(100))
    heads.eval().requires_grad_(requires_grad=False)
    heads.hold_against(real, pairs.texts, weight=recipe.hub_weight)
    return heads
