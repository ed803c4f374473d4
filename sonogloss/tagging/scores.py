"""How well does a label fit? Coarse and fine scores of audio-free prompt tuning (arXiv 2309.08357, section 2).

The same functions score texts in training (a sentence and its words) and sound in use (a clip and its frames).
Everything is a cosine, in [-1, 1]; rows need not be of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sonogloss.tagging.config import TEMPERATURE


def coarse_scores(wholes: Tensor, labels: Tensor) -> Tensor:
    """Cosines [n, labels] of sentences or clips [n, dim] with label embeddings [labels, dim]."""
    return normalize(wholes, dim=-1) @ normalize(labels, dim=-1).T


def fine_scores(
    parts: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = TEMPERATURE,
    compat: bool = False,
) -> Tensor:
    """A label is as near as the parts that are near it: cosines weighted by their own softmax over the parts.

    Args:
        parts: words or frames [n, parts, dim].
        labels: [labels, dim].
        mask: [n, parts], true for a part and false for padding; None has no padding.
        temperature: of the softmax; near 0 the nearest part decides, a high one takes the mean.
        compat: as the released code does it: a padded part gets the score 0 before the softmax, and so keeps a weight.

    Returns:
        [n, labels]. A row that is padding throughout scores 0.
    """
    cosines = normalize(parts, dim=-1) @ normalize(labels, dim=-1).T
    if mask is None:
        return ((cosines / temperature).softmax(dim=1) * cosines).sum(dim=1)
    there = mask.bool()[:, :, None]
    if compat:
        return (torch.where(there, cosines / temperature, 0).softmax(dim=1) * cosines).sum(dim=1)
    weights = (cosines / temperature).masked_fill(~there, -torch.inf).softmax(dim=1)
    return torch.where(there, weights * cosines, 0).sum(dim=1)
