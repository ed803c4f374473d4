"""Neighbours of a training caption: random captions from a band of cosines, or the nearest ones.

At inference an audio embedding retrieves captions, and does so less well than a caption retrieves its own paraphrases.
DRCap therefore trains with random captions from a band of cosines that imitates audio retrieval. Soft and hard prompts
use the embeddings of a caption's nearest neighbours instead.

Both sides are read block by block, so that neither has to fit into memory. A matrix product rounds differently with its
shape, so pairs near a decision are computed again, each alone, in double precision: results depend on the captions
only, not on blocks, shards or threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray, IntArray
from sonogloss.training.corpus import EmbeddedCaptions

KeyArray = npt.NDArray[np.uint64]

_BLOCK = 2048
_LAST = np.uint64(2**64 - 1)


def draw_contexts(
    captions: EmbeddedCaptions,
    datastore: EmbeddedCaptions,
    *,
    count: int,
    band: tuple[float, float],
    seed: int,
    block: int = _BLOCK,
) -> IntArray:
    """For every caption, draw datastore captions uniformly from its band.

    Each pair of texts gets a random key, and a caption keeps the `count` candidates of the smallest keys. So the draw
    depends on the seed and the texts alone, not on blocks or on the order of captions or datastore. A text counts once,
    however often the datastore has it, and a caption is never its own context.

    Args:
        captions: n captions.
        datastore: the captions to draw from.
        count: captions to draw.
        band: cosines (low, high), both exclusive, compared in float32.
        seed: of the draw.
        block: rows compared at a time, on both sides.

    Returns:
        Rows of the datastore [n, count], in random order, filled up with -1 where the band holds fewer.

    Raises:
        OptionError: the two sides have different widths.
    """
    sampled = np.full((captions.count, count), -1, np.int64)
    if count == 0 or datastore.count == 0:
        return sampled
    _check_widths(captions, datastore)
    smallest = np.full((captions.count, count), _LAST)
    for first, ids, vectors in _blocks(datastore, block):
        for start, own, queries in _blocks(captions, block):
            rows, columns = pairs_in_band(queries, vectors, band)
            keys = _scramble(_scramble(own[rows].astype(np.uint64) ^ np.uint64(seed)) ^ ids[columns].astype(np.uint64))
            wanted = (own[rows] != ids[columns]) & (keys < smallest[start + rows, -1])
            keep = slice(start, start + len(own))
            smallest[keep], sampled[keep] = _smallest(
                smallest[keep], sampled[keep], rows[wanted], keys[wanted], first + columns[wanted]
            )
    return sampled


def choose_contexts(sampled: IntArray, count: int, *, seed: int, epoch: int) -> IntArray:
    """Choose `count` of the rows sampled for each caption [n, m], anew an epoch: [n, count], filled up with -1."""
    if sampled.shape[1] <= count:
        return sampled
    mixed = _scramble(np.array([seed], np.uint64)) ^ np.uint64(epoch)
    keys = _scramble(_scramble(mixed ^ np.arange(len(sampled), dtype=np.uint64))[:, None] ^ sampled.astype(np.uint64))
    keys[sampled < 0] = _LAST
    return np.take_along_axis(sampled, np.argsort(keys, axis=1, kind="stable")[:, :count], axis=1)


def nearest(
    captions: EmbeddedCaptions, datastore: EmbeddedCaptions, *, count: int, block: int = _BLOCK
) -> tuple[IntArray, FloatArray]:
    """For every caption, the datastore captions of the largest cosines, itself included.

    Args:
        captions: n captions.
        datastore: the captions to search; a text counts once, however often it occurs.
        count: neighbours a caption.
        block: rows compared at a time, on both sides.

    Returns:
        Rows of the datastore [n, count], best first, equal cosines by ascending caption id, filled up with -1 where the
        datastore holds fewer; and their cosines, -inf there.

    Raises:
        OptionError: the two sides have different widths.
    """
    _check_widths(captions, datastore)
    found = np.full((captions.count, count), -1, np.int64)
    found_ids, cosines = found.copy(), np.full((captions.count, count), -np.inf, np.float32)
    slack = _rounding(captions.dim)
    for first, all_ids, all_vectors in _blocks(datastore, block):
        ids, columns = np.unique(all_ids, return_index=True)  # the first row of a text stands for all
        vectors = all_vectors[columns]
        for start, _, queries in _blocks(captions, block):
            keep = slice(start, start + len(queries))
            rough = queries @ vectors.T
            threshold = cosines[keep, -1]
            if rough.shape[1] >= count and np.isneginf(threshold).any():  # some have fewer than `count` so far
                here = np.partition(rough, rough.shape[1] - count, axis=1)[:, -count] - slack
                threshold = np.maximum(threshold, here)
            rows, places = np.nonzero(rough >= threshold[:, None] - slack)
            exact = _exact(queries, vectors, rows, places)
            rows = np.concatenate([np.repeat(np.arange(len(queries)), count), rows])
            scores = np.concatenate([cosines[keep].ravel(), exact])
            pair_ids = np.concatenate([found_ids[keep].ravel(), ids[places]])
            pair_rows = np.concatenate([found[keep].ravel(), first + columns[places]])
            order = np.lexsort((pair_rows, pair_ids, -scores, rows))
            rows, scores, pair_ids, pair_rows = rows[order], scores[order], pair_ids[order], pair_rows[order]
            again = np.zeros(len(rows), bool)  # an equal text has an equal score, so it comes right after
            again[1:] = (rows[1:] == rows[:-1]) & (pair_ids[1:] == pair_ids[:-1]) & (pair_rows[1:] >= 0)
            rows, scores, pair_ids, pair_rows = (a[~again] for a in (rows, scores, pair_ids, pair_rows))
            best = np.arange(len(rows)) - np.searchsorted(rows, rows) < count
            cosines[keep], found_ids[keep], found[keep] = (
                a[best].reshape(-1, count) for a in (scores, pair_ids, pair_rows)
            )
    return found, cosines


def pairs_in_band(queries: FloatArray, vectors: FloatArray, band: tuple[float, float]) -> tuple[IntArray, IntArray]:
    """All pairs (row of `queries`, row of `vectors`) whose cosine, as float32, lies strictly inside the band."""
    low, high = np.float32(band[0]), np.float32(band[1])
    slack = _rounding(queries.shape[1])
    rough = queries @ vectors.T
    rows, columns = np.nonzero((rough > low - slack) & (rough < high + slack))
    cosines = rough[rows, columns]
    unsure = np.flatnonzero((np.abs(cosines - low) <= slack) | (np.abs(cosines - high) <= slack))
    cosines[unsure] = _exact(queries, vectors, rows[unsure], columns[unsure])
    inside = (cosines > low) & (cosines < high)
    return rows[inside], columns[inside]


def _blocks(captions: EmbeddedCaptions, size: int) -> Iterator[tuple[int, IntArray, FloatArray]]:
    """First row, ids and embeddings of pieces of at most `size` rows."""
    first = 0
    for ids, vectors in captions.blocks():
        for start in range(0, len(ids), size):
            yield first + start, ids[start : start + size], vectors[start : start + size]
        first += len(ids)


def _smallest(
    keys: KeyArray, values: IntArray, rows: IntArray, new_keys: KeyArray, new_values: IntArray
) -> tuple[KeyArray, IntArray]:
    """Merge new keys into the smallest keys of each row [n, count], with their values; equal keys count once."""
    if len(rows) == 0:
        return keys, values
    n, count = keys.shape
    all_rows = np.concatenate([np.repeat(np.arange(n), count), rows])
    all_keys, all_values = np.concatenate([keys.ravel(), new_keys]), np.concatenate([values.ravel(), new_values])
    order = np.lexsort((all_values, all_keys, all_rows))
    all_rows, all_keys, all_values = all_rows[order], all_keys[order], all_values[order]
    again = np.zeros(len(order), bool)
    again[1:] = (all_rows[1:] == all_rows[:-1]) & (all_keys[1:] == all_keys[:-1]) & (all_keys[1:] != _LAST)
    all_rows, all_keys, all_values = all_rows[~again], all_keys[~again], all_values[~again]
    kept = np.arange(len(all_rows)) - np.searchsorted(all_rows, all_rows) < count
    return all_keys[kept].reshape(n, count), all_values[kept].reshape(n, count)


def _exact(queries: FloatArray, vectors: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Cosines of single pairs, summed in double precision and rounded to float32: independent of other pairs."""
    cosines = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        some = slice(start, start + _BLOCK)
        cosines[some] = (queries[rows[some]].astype(np.float64) * vectors[columns[some]]).sum(axis=1)
    return cosines


def _rounding(dim: int) -> np.float32:
    """Bounds |float32 product - exact product| of two unit rows, summed in any order."""
    return np.float32((dim + 2) * 2.0**-23)


def _check_widths(captions: EmbeddedCaptions, datastore: EmbeddedCaptions) -> None:
    if captions.dim != datastore.dim:
        raise OptionError(
            f"The captions have {captions.dim} dimensions and the datastore {datastore.dim}.",
            "Embed both with the same CLAP.",
        )


def _scramble(values: KeyArray) -> KeyArray:
    """The finalizer of SplitMix64, a hash of integers."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
