"""Which datastore captions a training caption is shown with: some of those in a band of similarity.

At test time a *sound* finds captions, and finds them less well than a caption finds its own paraphrases. While
learning, DRCap therefore shows not the nearest captions but random ones from a band of cosines, chosen to imitate what
sounds find.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sonogloss.errors import OptionError
from sonogloss.records import FloatArray, caption_id

IntArray = npt.NDArray[np.int64]

_BLOCK = 2048


def draw_contexts(
    captions: Sequence[str],
    embeddings: FloatArray,
    datastore_captions: Sequence[str],
    datastore_embeddings: FloatArray,
    *,
    count: int,
    band: tuple[float, float],
    seed: int,
    block: int = _BLOCK,
) -> IntArray:
    """For every caption, datastore captions drawn uniformly from its band.

    Who is drawn depends on the seed and on the two texts alone, neither on blocks nor on the order of captions or
    datastore: each pair gets a random key and a caption keeps its `count` candidates of the smallest keys. A text
    counts once, however often the datastore has it, and a caption is never shown with itself.

    Args:
        captions: n training captions.
        embeddings: [n, d], unit rows.
        datastore_captions: m captions to draw from.
        datastore_embeddings: [m, d], unit rows.
        count: how many to draw.
        band: cosines (low, high), both exclusive, compared in float32.
        seed: of the draw.
        block: rows compared at a time, on both sides.

    Returns:
        Rows of the datastore [n, count], in random order, filled up with -1 where the band holds fewer.
    """
    ids = np.array([caption_id(text) for text in captions], np.uint64)
    datastore_ids = np.array([caption_id(text) for text in datastore_captions], np.uint64)
    drawn = np.full((len(captions), count), -1, np.int64)
    if count == 0:
        return drawn
    for start in range(0, len(captions), block):
        own = ids[start : start + block]
        kept_rows = kept_columns = np.empty(0, np.int64)
        kept_keys = np.empty(0, np.uint64)
        for rows, columns in band_pairs(
            embeddings[start : start + block], datastore_embeddings, band=band, block=block
        ):
            other = own[rows] != datastore_ids[columns]
            rows, columns = rows[other], columns[other]
            keys = _scramble(_scramble(own[rows] ^ np.uint64(seed)) ^ datastore_ids[columns])
            rows, columns, keys = (
                np.concatenate(pair) for pair in ((kept_rows, rows), (kept_columns, columns), (kept_keys, keys))
            )
            order = np.lexsort((columns, keys, rows))
            rows, columns, keys = rows[order], columns[order], keys[order]
            again = np.zeros(len(rows), bool)  # the same text twice: it has the same key and stands right behind
            again[1:] = (rows[1:] == rows[:-1]) & (keys[1:] == keys[:-1])
            rows, columns, keys = rows[~again], columns[~again], keys[~again]
            rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
            first = rank < count
            kept_rows, kept_columns, kept_keys = rows[first], columns[first], keys[first]
        rank = np.arange(len(kept_rows)) - np.searchsorted(kept_rows, kept_rows)
        drawn[start + kept_rows, rank] = kept_columns
    return drawn


def band_pairs(
    queries: FloatArray, datastore: FloatArray, *, band: tuple[float, float], block: int = _BLOCK
) -> Iterator[tuple[IntArray, IntArray]]:
    """All pairs (row of `queries`, row of `datastore`) whose cosine lies strictly inside the band, block by block.

    Raises:
        OptionError: the two sides have different widths.
    """
    if queries.shape[1] != datastore.shape[1]:
        raise OptionError(
            f"The captions have {queries.shape[1]} dimensions and the datastore {datastore.shape[1]}.",
            "Embed both with the same CLAP.",
        )
    low, high = np.float32(band[0]), np.float32(band[1])
    for start in range(0, len(datastore), block):
        cosines = queries @ datastore[start : start + block].T
        rows, columns = np.nonzero((cosines > low) & (cosines < high))
        yield rows.astype(np.int64), columns.astype(np.int64) + start


def _scramble(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser: neighbouring numbers become unrelated ones."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
