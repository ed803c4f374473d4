"""The pass of :mod:`sonogloss.indexes.scan` over vectors that lie in the memory of a GPU.

A GPU sums float32 products in another order than a processor does. The margin of the candidates holds for any order,
and float64 scores computed on the processor decide, so the rows and their scores are those of the pass on the
processor, bit for bit. The sums of the softmax agree to 1e-6; their last bits may depend on the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

import numpy as np
import torch

from sonogloss.bridge import SoftmaxState
from sonogloss.indexes.candidates import Candidates, DoubleArray, Near
from sonogloss.indexes.scan import HEAVIEST, SHARP, BoolArray, Scan, Wanted, read_wanted, scan
from sonogloss.indexes.softmax import FAINTEST, weigh_exactly
from sonogloss.records import FloatArray, IntArray

_QUERIES = 1024  # of one tile
_SCORES = 1 << 23  # of one tile: 32 MiB
_ROWS = 1 << 17  # of one tile at most
_PART = 128  # rows that are summed in float32


def put_on_device(vectors: FloatArray, device: str) -> torch.Tensor | None:
    """Vectors [count, dim] in the memory of a device; None where they would take more than half of what is free.

    The other half is for models, whose work comes and goes.
    """
    if torch.device(device).type == "cuda" and vectors.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return None
    placed = torch.empty(vectors.shape, dtype=torch.from_numpy(vectors[:0].copy()).dtype, device=device)
    for start in range(0, len(vectors), _ROWS):
        placed[start : start + _ROWS] = torch.from_numpy(np.array(vectors[start : start + _ROWS]))
    return placed


def scan_on_device(placed: torch.Tensor, vectors: FloatArray, queries: FloatArray, **wanted: Unpack[Wanted]) -> Scan:
    """Compare queries with all vectors.

    Args:
        placed: what :func:`put_on_device` gave for `vectors`.
        vectors: the same on the processor, for exact scores.
        queries: and the others: as :func:`sonogloss.indexes.scan.scan` takes them.
    """
    ids, k, temperature, allowed = read_wanted(wanted, len(vectors))
    sharp = temperature if temperature is not None and temperature < SHARP else None
    softmax = temperature if sharp is None else None
    nearest: list[tuple[DoubleArray, IntArray]] = []
    states: list[SoftmaxState | None] = []
    with _whole_float32():
        for start in range(0, len(queries), _QUERIES):
            part = queries[start : start + _QUERIES]
            kept = max(k, 0 if softmax is None else HEAVIEST)
            candidates = Candidates(vectors, ids, part, kept) if kept else None
            if candidates is not None:
                states.append(_walk(placed, part, candidates, kept, softmax, allowed))
                nearest.extend(candidates.nearest(query, k) for query in range(len(part)) if k)
    if sharp is not None:  # all scores are float64 then
        return Scan(nearest=nearest, softmax=scan(vectors, queries, temperature=sharp, allowed=allowed).softmax)
    return Scan(nearest=nearest, softmax=_joined(states))


def _walk(
    placed: torch.Tensor,
    queries: FloatArray,
    candidates: Candidates,
    k: int,
    temperature: float | None,
    allowed: BoolArray | None,
) -> SoftmaxState | None:
    """Show every tile's scores to the candidates and the softmax; returns the state of the softmax."""
    device, n = placed.device, len(queries)
    moved = torch.from_numpy(queries).to(device)
    mask = None if allowed is None else torch.from_numpy(np.ascontiguousarray(allowed)).to(device)
    sums = None if temperature is None else _DeviceSoftmax(n, queries.shape[1], temperature, device)
    rows = min(_ROWS, max(_PART, _SCORES // max(n, 1)))
    for start in range(0, len(placed), rows):
        block = placed[start : start + rows].float()
        scores = moved @ block.T
        if mask is not None:
            kept = mask[start : start + rows]
            if not bool(kept.any()):
                continue
            scores.masked_fill_(~kept, -torch.inf)
        best = torch.topk(scores, min(k, scores.shape[1])).values
        if best.shape[1] == k:
            candidates.raise_floors(best[:, -1].cpu().numpy())
        found = torch.nonzero(scores >= torch.from_numpy(candidates.thresholds()).to(device)[:, None])
        asked, near = found.unbind(1)
        candidates.take(Near(*(part.cpu().numpy() for part in (asked, start + near, scores[asked, near]))))
        candidates.settle(at_once=False)
        if sums is not None:
            sums.add(scores, best[:, 0], block)
    candidates.settle(at_once=True)
    return None if sums is None or temperature is None else weigh_exactly(sums.state(), candidates, temperature)


class _DeviceSoftmax:
    """The sums of a batch: like :class:`sonogloss.indexes.softmax.Softmax`."""

    def __init__(self, n: int, dim: int, temperature: float, device: torch.device) -> None:
        self._temperature = temperature
        self._maximum = torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
        self._total = torch.zeros(n, dtype=torch.float64, device=device)
        self._vector = torch.zeros(n, dim, dtype=torch.float64, device=device)

    def add(self, scores: torch.Tensor, best: torch.Tensor, block: torch.Tensor) -> None:
        """Take the scores [n, rows] of one tile, which are overwritten; `best` [n] are the largest."""
        maximum = torch.maximum(self._maximum, best.double())
        scale = torch.exp((self._maximum - maximum) / self._temperature)
        scores -= maximum.float()[:, None]
        weights = scores.mul_(1 / self._temperature).clamp_(min=float(FAINTEST)).exp_()
        self._maximum = maximum
        self._total = self._total * scale + weights.sum(dim=1, dtype=torch.float64)
        self._vector = self._vector * scale[:, None] + _weighted_sums(weights, block)

    def state(self) -> SoftmaxState:
        """What was summed, on the processor."""
        maximum, total, vector = (part.cpu().numpy() for part in (self._maximum, self._total, self._vector))
        return SoftmaxState(maximum=maximum, total=total, vector=vector)


def _weighted_sums(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """float64 sums [n, dim] of rows with weights [n, rows], summed in parts as on the processor, and for its reason."""
    whole = len(rows) // _PART * _PART
    parts = weights[:, :whole].unflatten(1, (-1, _PART)).transpose(0, 1) @ rows[:whole].unflatten(0, (-1, _PART))
    return parts.sum(dim=0, dtype=torch.float64) + (weights[:, whole:] @ rows[whole:]).double()


def _joined(states: list[SoftmaxState | None]) -> SoftmaxState | None:
    made = [state for state in states if state is not None]
    if not made:
        return None
    return SoftmaxState(
        maximum=np.concatenate([state.maximum for state in made]),
        total=np.concatenate([state.total for state in made]),
        vector=np.concatenate([state.vector for state in made]),
    )


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products of float32 in float32: TF32, which a program may have allowed, would exceed the candidates' margin."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
