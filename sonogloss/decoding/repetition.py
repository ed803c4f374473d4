"""The rule against repetition: so many tokens in a row occur once in a caption.

Small language models fall into loops, which likelihood rewards. The rule looks at new tokens only: what the prompt says
may be said again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def repeating(ids: Sequence[int], size: int) -> set[int]:
    """The tokens that would complete a row of `size` tokens which `ids` holds already."""
    if len(ids) < size:
        return set()
    last = tuple(ids[len(ids) - size + 1 :])
    return {ids[end] for end in range(size - 1, len(ids)) if tuple(ids[end - size + 1 : end]) == last}


def without_repetition(logits: Tensor, ids: Tensor, size: int) -> Tensor:
    """Logits [..., vocabulary] with minus infinity for the tokens of :func:`repeating`.

    Args:
        logits: of the next token.
        ids: [..., t] the new tokens so far.
        size: of a row; 0 for no such rule.
    """
    if not size or ids.shape[-1] < size:
        return logits
    rows = ids.unfold(-1, size, 1)
    again = (rows[..., :-1] == ids[..., None, ids.shape[-1] - size + 1 :]).all(dim=-1)
    ceiling = torch.where(again, -torch.inf, torch.inf).to(logits.dtype)
    return logits.scatter_reduce(-1, rows[..., -1], ceiling, reduce="amin")
