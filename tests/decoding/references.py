"""Beam search by its definition, in plain Python: every continuation of every beam is looked at, nothing is batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

Ids = tuple[int, ...]
LogProbs = Callable[[Ids], Sequence[float]]
"""The log-probabilities of all next tokens after new ids."""
Ended = Callable[[Ids], bool]
"""Does a caption end with the last of these ids?"""


def every_caption(log_probs: LogProbs, ended: Ended, vocabulary: int, longest: int) -> dict[Ids, float]:
    """All captions up to a length, each with the mean log-probability of its tokens."""
    means: dict[Ids, float] = {}
    for length in range(1, longest + 1):
        for ids in product(range(vocabulary), repeat=length):
            if any(ended(ids[:end]) for end in range(1, length)) or not (ended(ids) or length == longest):
                continue
            means[ids] = sum(log_probs(ids[:at])[token] for at, token in enumerate(ids)) / length
    return means


def by_average(log_probs: LogProbs, ended: Ended, vocabulary: int, longest: int, beams: int) -> list[tuple[Ids, float]]:
    """ClipCap's rule: the best means go on, finished or not. Best first."""
    kept: list[tuple[Ids, float, bool]] = [((), 0.0, False)]
    for _ in range(longest):
        found = []
        for ids, total, finished in kept:
            if finished:
                found.append((ids, total, True))
                continue
            for token in range(vocabulary):
                longer = (*ids, token)
                found.append((longer, total + log_probs(ids)[token], ended(longer)))
        kept = sorted(found, key=lambda beam: beam[1] / len(beam[0]), reverse=True)[:beams]
    return [(ids, total / len(ids)) for ids, total, _ in kept]


def by_transformers(
    log_probs: LogProbs, ended: Ended, vocabulary: int, longest: int, beams: int
) -> list[tuple[Ids, float]]:
    """The rule of transformers' `generate`: finished captions are set aside by their means. Best first."""
    growing: list[tuple[Ids, float]] = [((), 0.0)]
    final: list[tuple[Ids, float]] = []
    for length in range(1, longest + 1):
        found = [((*ids, t), total + log_probs(ids)[t]) for ids, total in growing for t in range(vocabulary)]
        found = sorted(found, key=lambda beam: beam[1], reverse=True)[: 2 * beams]
        over = [length == longest or ended(ids) for ids, _ in found]
        final += [(ids, total / length) for (ids, total), end in zip(found[:beams], over[:beams], strict=True) if end]
        final = sorted(final, key=lambda beam: beam[1], reverse=True)[:beams]
        growing = [beam for beam, end in zip(found, over, strict=True) if not end][:beams]
        if len(final) == beams and (not growing or growing[0][1] / length <= final[-1][1]):
            break
    return final
