"""What prompts learn from: cross-entropy where one label is true, a ranking hinge where several may be."""

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
        truth: the label's number for each row, [n].
        scale: the CLAP's own, 1 / temperature; at most 100 of it is used.
    """
    return cross_entropy(scores * min(scale, LARGEST_SCALE), truth)


def ranking_loss(scores: Tensor, truth: Tensor, *, scale: float = RANKING_SCALE, margin: float = MARGIN) -> Tensor:
    """Every true label shall score above every false one: a hinge on each such pair, summed a row, averaged over rows.

    Equation 3 of arXiv 2309.08357; scores are cosines and not scaled by the CLAP's temperature.

    Args:
        scores: cosines [n, labels].
        truth: [n, labels], 1 where the label is true.
        scale: what a difference of cosines is multiplied by.
        margin: how far apart is far enough, after that.

    Returns:
        A scalar; a row with all labels true, or none, adds nothing.
    """
    hinges = (margin - scale * (scores[:, :, None] - scores[:, None, :])).clamp(min=0)
    positive = truth.to(scores.dtype)
    pairs = positive[:, :, None] * (1 - positive)[:, None, :]
    return (hinges * pairs).sum(dim=(1, 2)).mean()
