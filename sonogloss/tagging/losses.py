"""Losses of prompt tuning: cross-entropy for one label a text, a ranking hinge for several."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

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
