"""Across the modality gap: projection of audio embeddings onto captions, and noise on text embeddings in training.

A decoder that is trained on text embeddings gets an audio embedding at inference. Projection replaces that embedding by
a softmax-weighted mean of caption embeddings (the *support*), that is, attention with keys = values::

    w = softmax(S q / tau),    E' = sum_i w_i S_i            (DRCap, section on projection-based decoding)

DRCap leaves E' as it is, so its norm is at most one; DeCap and WSAC scale E' back to unit length and fix tau = 0.01.
With tau = 0 the softmax becomes "the nearest row", WSAC's nearest-memory mode. A duplicated row counts as often as it
occurs in the support.

The softmax is streamed: a block of rows gives (maximum, sum, vector), see :class:`SoftmaxState`, and two such states
merge exactly, so a support of any size, split anywhere, needs bounded memory. Scores and sums are float64: results of
different blocks agree to about 1e-15 / tau before they are rounded to float32.

This module uses numpy only, so that datastores can import it without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray

_DoubleArray = npt.NDArray[np.float64]

# BLAS may sum in another order for another matrix shape. Queries are therefore computed in tiles of this many rows (the
# last one padded with zeros), so that a clip's projection does not depend on the other clips of its batch.
_QUERY_TILE = 32
# Rows of the support in float64 at one time: 16 MiB at a width of 1024.
_BLOCK_ROWS = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxState:
    """The softmax of n queries over a part of the support; states of parts merge into that of the whole.

    Attributes:
        maximum: [n] the largest score, -inf without rows.
        total: [n] sum of exp((score - maximum) / tau).
        vector: [n, dim] sum of exp((score - maximum) / tau) * row.
    """

    maximum: _DoubleArray
    total: _DoubleArray
    vector: _DoubleArray


def empty_state(queries: int, dim: int) -> SoftmaxState:
    """The neutral element of :func:`merge`: the state of a support without rows."""
    return SoftmaxState(
        maximum=np.full(queries, -np.inf), total=np.zeros(queries), vector=np.zeros((queries, dim), dtype=np.float64)
    )


def partial_softmax(queries: FloatArray, block: FloatArray, temperature: float) -> SoftmaxState:
    """The state of one block.

    Args:
        queries: [n, dim], unit rows.
        block: [rows, dim], unit rows; at least one.
        temperature: tau >= 0; 0 means the nearest row.
    """
    rows = block.astype(np.float64)
    states = [_tile_state(tile, rows, temperature) for tile in _tiles(queries)]
    n = len(queries)
    return SoftmaxState(
        maximum=np.concatenate([s.maximum for s in states])[:n],
        total=np.concatenate([s.total for s in states])[:n],
        vector=np.concatenate([s.vector for s in states])[:n],
    )


def _tiles(queries: FloatArray) -> Iterator[_DoubleArray]:
    padded = np.zeros((-(-len(queries) // _QUERY_TILE) * _QUERY_TILE, queries.shape[1]))
    padded[: len(queries)] = queries
    for start in range(0, len(padded), _QUERY_TILE):
        yield padded[start : start + _QUERY_TILE]


def _tile_state(tile: _DoubleArray, rows: _DoubleArray, temperature: float) -> SoftmaxState:
    scores = tile @ rows.T
    maximum = scores.max(axis=1)
    weights = _weights(scores - maximum[:, None], temperature)
    return SoftmaxState(maximum=maximum, total=weights.sum(axis=1), vector=weights @ rows)


def _weights(difference: _DoubleArray, temperature: float) -> _DoubleArray:
    """exp(difference / tau) for differences <= 0, and its limit at tau = 0."""
    if temperature == 0:
        return (difference == 0).astype(np.float64)
    with np.errstate(over="ignore"):  # a tiny tau may divide to -inf, whose exp is the 0 that is meant
        return np.asarray(np.exp(difference / temperature))


def merge(first: SoftmaxState, second: SoftmaxState, temperature: float) -> SoftmaxState:
    """The state of two parts together; associative and commutative up to rounding."""
    maximum = np.maximum(first.maximum, second.maximum)
    total = np.zeros_like(first.total)
    vector = np.zeros_like(first.vector)
    for state in (first, second):
        nonempty = np.isfinite(state.maximum)
        scale = np.zeros_like(maximum)
        scale[nonempty] = _weights(state.maximum[nonempty] - maximum[nonempty], temperature)
        total += scale * state.total
        vector += scale[:, None] * state.vector
    return SoftmaxState(maximum=maximum, total=total, vector=vector)


def finish(state: SoftmaxState, *, renormalise: bool) -> FloatArray:
    """The projected embeddings [n, dim] of a complete state.

    Args:
        renormalise: scale rows to unit length (DeCap, WSAC); a row that cancelled to zero stays zero.

    Raises:
        OptionError: the support had no rows.
    """
    if not np.all(state.total > 0):
        raise OptionError("The text support is empty.", "Name a datastore whose support holds captions.")
    projected = state.vector / state.total[:, None]
    return _unit(projected) if renormalise else projected.astype(np.float32)


def project(
    queries: FloatArray, support: FloatArray | Iterable[FloatArray], *, temperature: float, renormalise: bool
) -> FloatArray:
    """Project embeddings onto a text support (the module's formula).

    Args:
        queries: [n, dim], unit rows.
        support: [rows, dim], or blocks of such rows in a fixed order; unit rows.
        temperature: tau >= 0; DRCap uses its CLAP's own temperature, DeCap and WSAC 0.01, 0 means the nearest row.
        renormalise: scale the result to unit length (DeCap, WSAC), or leave it shorter (DRCap).

    Returns:
        float32 [n, dim]; a row does not depend on the other queries.

    Raises:
        OptionError: the temperature is negative or not finite, or the support is empty.

    Example:
        >>> project(np.float32([[1, 0]]), np.float32([[0, 1], [1, 0]]), temperature=0, renormalise=True)
        array([[1., 0.]], dtype=float32)
    """
    check_temperature(temperature)
    if len(queries) == 0:
        return queries.astype(np.float32)
    state = empty_state(*queries.shape)
    for block in [support] if isinstance(support, np.ndarray) else support:
        for start in range(0, len(block), _BLOCK_ROWS):
            part = partial_softmax(queries, block[start : start + _BLOCK_ROWS], temperature)
            state = merge(state, part, temperature)
    return finish(state, renormalise=renormalise)


def check_temperature(temperature: float) -> None:
    """Refuse what no softmax can have.

    Raises:
        OptionError: the temperature is negative or not finite.
    """
    if not (np.isfinite(temperature) and temperature >= 0):
        raise OptionError(f"The projection temperature {temperature} is not usable.", "Give zero or a positive number.")


def add_noise(embeddings: FloatArray, draws: FloatArray, *, std: float) -> FloatArray:
    """Noise on text embeddings in training: normalize, add `std * draws`, normalize (CapDec; soft and hard prompts).

    The expected cosine with the clean vector is 1 / sqrt(1 + dim * std^2): the wider the embedding, the smaller std
    must be. Unlike the released code, std = 0 normalizes as well.

    Args:
        embeddings: [n, dim].
        draws: [n, dim] standard normal numbers from the caller's generator.
        std: standard deviation per component, the square root of the papers' "variance".

    Returns:
        float32 [n, dim], unit rows.
    """
    return _unit(_unit(embeddings) + np.float32(std) * draws)


def _unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
