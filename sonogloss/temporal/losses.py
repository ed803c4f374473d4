"""TNCE: contrastive learning with the same sounds in another order as hard negatives (TeminAL, arXiv 2408.09269).

Rows come in blocks of B: stage A stacks singles and pairs (2B rows), stage B forward, reverse and overlay (3B rows).
Row i of every block belongs to the same group, so the diagonals of the off-diagonal blocks hold the temporal negatives
of the *same* sample and the rest of those blocks the temporal negatives of *other* samples::

            forward   reverse   overlay
    forward [ InfoNCE | TIME    | OVERLAY ]      in every off-diagonal block
    reverse [ TIME    | InfoNCE | OVERLAY ]          diagonal:     + log alpha_same
    overlay [ OVERLAY | OVERLAY | InfoNCE ]          off diagonal: + log alpha_cross

With all alphas 1 this is ordinary InfoNCE over all rows; alpha 0 removes the negatives it weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sonogloss.temporal.config import TnceSettings

_RELEASED_EPSILON = 1e-8


def tnce_logits(similarity: Tensor, blocks: int, settings: TnceSettings) -> Tensor:
    """Weight the negatives in a similarity matrix.

    Args:
        similarity: [blocks * B, blocks * B], row and column i of each block from the same group.
        blocks: number of stacked variants. With 2 (stage A) the alphas do not apply: no sound is reversed.
        settings: the alphas.

    Returns:
        The matrix with log alphas added, minus infinity where alpha is 0.
    """
    if blocks < 3 or (settings.alpha_same == settings.alpha_cross == 1 and not settings.released):
        return similarity
    rows = torch.arange(len(similarity), device=similarity.device)
    size = len(similarity) // blocks
    other_block = (rows // size)[:, None] != (rows // size)[None]
    same_group = (rows % size)[:, None] == (rows % size)[None]
    added = torch.zeros_like(similarity)
    added[other_block & same_group] = _log(settings.alpha_same, settings)
    added[other_block & ~same_group] = _log(settings.alpha_cross, settings)
    return similarity + added


def tnce(
    audio: Tensor,
    text: Tensor,
    *,
    blocks: int,
    settings: TnceSettings,
    scale: Tensor | float = 1.0,
    also_true: Tensor | None = None,
) -> Tensor:
    """The loss of a stack of variants, both directions summed, times the weight.

    Args:
        audio: [blocks * B, d]; unit rows unless `settings.released`.
        text: [blocks * B, d], row i true of audio row i.
        blocks: 2 in stage A, 3 in stage B. Any B works (the released code fails on a smaller last batch in stage A and
            silently skips it in stage B).
        settings: see :class:`TnceSettings`.
        scale: similarities are multiplied by it, 1 / temperature.
        also_true: bool [blocks * B, blocks * B]; text j is true of audio i as well. Such a pair off the diagonal is no
            negative and is left out of both softmaxes. None leaves nothing out, as published.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: the rows are not whole blocks.
    """
    if len(audio) != len(text) or not len(audio) or len(audio) % blocks:
        raise ValueError(f"{len(audio)} sounds and {len(text)} texts are not {blocks} blocks of equal size")
    by_text = tnce_logits(scale * text @ audio.T, blocks, settings)
    by_audio = tnce_logits(scale * audio @ text.T, blocks, settings)
    if also_true is not None:
        others = also_true & ~torch.eye(len(audio), dtype=torch.bool, device=audio.device)
        by_text, by_audio = by_text.masked_fill(others.T, -torch.inf), by_audio.masked_fill(others, -torch.inf)
    target = torch.arange(len(audio), device=audio.device)
    rows = _row_weights(len(audio), blocks, settings).to(audio)
    # cross_entropy's own class weights give the weighted mean: target i is row i.
    contrast = functional.cross_entropy(by_text, target, weight=rows)
    return settings.weight * (contrast + functional.cross_entropy(by_audio, target, weight=rows))


def _row_weights(rows: int, blocks: int, settings: TnceSettings) -> Tensor:
    size = rows // blocks
    weights = torch.ones(rows)
    weights[size // blocks if settings.released else size :] = settings.beta
    return weights


def _log(alpha: float, settings: TnceSettings) -> float:
    if settings.released:
        return math.log(alpha + _RELEASED_EPSILON)
    return math.log(alpha) if alpha else -math.inf
