"""Coarse and fine scores of labels in audio-free prompt tuning, and its losses (arXiv 2309.08357, section 2).

They apply to a sentence and its words in training, and to a clip and its frames in use. All scores are cosines in
[-1, 1]; rows need not have unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

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
    """Cosines of the parts, averaged with their own softmax over the parts as weights.

    Args:
        parts: words or frames [n, parts, dim].
        labels: [labels, dim].
        mask: [n, parts], true for a part and false for padding; None has no padding.
        temperature: of the softmax; near 0 it selects the nearest part, a high one takes the mean.
        compat: as the released code, where a padded part has the score 0 before the softmax and so keeps a weight.

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


LARGEST_SCALE = 100.0
RANKING_SCALE = 5.0
MARGIN = 1.0


def label_loss(scores: Tensor, truth: Tensor, scale: float) -> Tensor:
    """Mean cross-entropy of scaled scores.

    Args:
        scores: cosines [n, labels].
        truth: number of the true label of each row, [n].
        scale: 1 / temperature of the CLAP, capped at 100.
    """
    return cross_entropy(scores * min(scale, LARGEST_SCALE), truth)


def ranking_loss(scores: Tensor, truth: Tensor, *, scale: float = RANKING_SCALE, margin: float = MARGIN) -> Tensor:
    """A hinge on every pair of a true and a false label, summed over pairs and averaged over rows.

    Equation 3 of arXiv 2309.08357; scores are cosines and not scaled by the CLAP's temperature.

    Args:
        scores: cosines [n, labels].
        truth: [n, labels], 1 where the label is true.
        scale: factor of a difference of cosines.
        margin: scaled difference from which a pair costs nothing.

    Returns:
        A scalar; a row with all labels true, or none, adds nothing.
    """
    hinges = (margin - scale * (scores[:, :, None] - scores[:, None, :])).clamp(min=0)
    positive = truth.to(scores.dtype)
    pairs = positive[:, :, None] * (1 - positive)[:, None, :]
    return (hinges * pairs).sum(dim=(1, 2)).mean()
