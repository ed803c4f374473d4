"""Measure what the index of a store finds, and choose the setting that searches it.

Rows that were not trained on are looked up, each with itself left out: what counts is whether its neighbors are found.
Embeddings of recordings are other queries than those of captions; where a user gives some, recall counts for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sonogloss import files
from sonogloss.indexes.approximate import ApproximateIndex
from sonogloss.indexes.flat import FlatIndex
from sonogloss.indexes.layout import INDEX, QUERIES, TRAINED, FileEntry, IndexEntry, ShardEntry, shard_from_json
from sonogloss.indexes.shard_writer import file_entry
from sonogloss.indexes.train import IndexRequest, Rows, held_out, list_count, read_index
from sonogloss.indexes.vectors import raw, read_vectors, write_header
from sonogloss.records import FloatArray, IntArray

Setting = dict[str, int]
"""Parameters of an index by name."""
Recall = tuple[float, float]
"""The share that is found of the one nearest row, and of the ten nearest."""
_CANDIDATES = (100, 400, 1600)  # rows a shard whose exact scores decide
_FEWEST_PROBES = 8
_NO_GAIN = 1e-3  # of recall, by twice as many lists: what is missed lies in quantization


def write_queries(directory: str, vectors: FloatArray) -> FileEntry:
    """Keep the embeddings of recordings [n, dim] that recall is measured with."""
    with files.atomic_write(files.join(directory, QUERIES)) as handle:
        write_header(handle, len(vectors), vectors.shape[1], vectors.dtype)
        handle.write(raw(vectors, vectors.dtype))
    return file_entry(directory, QUERIES)


def measure(
    directory: str,
    shards: Sequence[Mapping[str, Any]],
    trained: Mapping[str, Any],
    request: IndexRequest,
    *,
    dtype: str,
    queries: FileEntry | None = None,
) -> tuple[IndexEntry, dict[str, Any]]:
    """Find the cheapest setting that finds enough, and how fast it is.

    Args:
        directory: the datastore's path or URL.
        shards: entries with a filled index.
        trained: what :func:`sonogloss.indexes.train.train` returned.
        request: what is asked of the index.
        dtype: what vectors are stored as.
        queries: of :func:`write_queries`; as much is to be found for them as for captions.

    Returns:
        The manifest's entry, and `queries_per_s` by queries at a time, which differs from run to run.
    """
    rows = Rows(directory, [shard_from_json(shard) for shard in shards if shard["count"]], dtype)
    asked = held_out(rows.count)
    sets = [(rows.take(asked), asked)]
    measured_on = f"{len(asked)} captions that were not trained on, each with itself left out"
    if queries is not None:
        audio = read_vectors(files.join(directory, queries.path))
        sets.append((audio, np.full(len(audio), -1)))  # no row is left out
        measured_on += f", and {len(audio)} audio embeddings"
    flat = [FlatIndex(rows.open(shard)) for shard in rows.shards]
    exact = [nearest_others(flat, rows, *each) for each in sets]
    opened = [open_index(rows, shard, directory) for shard in rows.shards]

    def recalls(setting: Setting) -> list[Recall]:
        for index in opened:
            index.set(setting)
        found = [nearest_others(opened, rows, *each) for each in sets]
        return [(recall(true, got, 1), recall(true, got, 10)) for true, got in zip(exact, found, strict=True)]

    largest = max(shard.count for shard in rows.shards)
    found, setting = _choose_setting(recalls, largest, list_count(opened[0].faiss_index), request.recall)
    (text, *audio_recall) = [(round(at_1, 4), round(at_10, 4)) for at_1, at_10 in found]
    for index in opened:
        index.set(setting)
    entry = IndexEntry(
        kind=trained["kind"],
        factory=trained["factory"],
        recall_at_10=text[1],
        recall_at_1=text[0],
        recall_wanted=request.recall,
        measured_on=measured_on,
        parameters=setting,
        trained=file_entry(directory, TRAINED),
        queries=queries,
        audio_recall_at_10=audio_recall[0][1] if audio_recall else None,
        audio_recall_at_1=audio_recall[0][0] if audio_recall else None,
    )
    return entry, {"queries_per_s": search_speed(opened, rows, sets[0][0])}


def _choose_setting(
    recalls: Callable[[Setting], list[Recall]], rows: int, lists: int, wanted: float
) -> tuple[list[Recall], Setting]:
    """The first setting that finds enough, or the one that finds most.

    More lists come first, while they help, and then more candidates.

    Args:
        recalls: the recall with a setting, for each set of queries; the least counts.
        rows: of the largest shard.
        lists: of an inverted file; 0 for other kinds, which have candidates only.
        wanted: the recall of ten rows.

    Returns:
        What the setting recalls, and the setting.
    """
    tried: list[tuple[float, list[Recall], Setting]] = []
    first = 1
    for candidates in [number for number in _CANDIDATES if number <= max(_CANDIDATES[0], rows // 4)]:
        before = -1.0
        for probe in [2**power for power in range(lists.bit_length()) if first <= 2**power <= lists] or [0]:
            setting = {"candidates": candidates} | ({"nprobe": probe} if probe else {})
            each = recalls(setting)
            found = min(at_10 for _, at_10 in each)
            tried.append((found, each, setting))
            if found >= wanted:
                return each, setting
            if probe >= _FEWEST_PROBES and found - before < _NO_GAIN:
                break
            first, before = probe, found
    return max(tried, key=lambda one: one[0])[1:]


def open_index(rows: Rows, shard: ShardEntry, directory: str) -> ApproximateIndex:
    """The filled index of a shard."""
    return ApproximateIndex(rows.open(shard), read_index(files.join(directory, shard.file(INDEX).path)))


def nearest_others(indexes: Sequence[Any], rows: Rows, queries: FloatArray, asked: IntArray) -> list[list[int]]:
    """The ten nearest rows of each query but itself, best first."""
    merged: list[list[tuple[float, int]]] = [[] for _ in queries]
    for start, shard, index in zip(rows.starts, rows.shards, indexes, strict=False):
        for number, (scores, local) in enumerate(index.search(queries, 11, np.arange(shard.count))):
            merged[number] += [(-float(s), int(start + r)) for s, r in zip(scores, local, strict=True)]
    return [
        [row for _, row in sorted(found) if row != own][:10] for found, own in zip(merged, asked.tolist(), strict=True)
    ]


def recall(exact: list[list[int]], found: list[list[int]], k: int) -> float:
    """The share of the `k` nearest rows that was found among as many."""
    hits = sum(len(set(true[:k]) & set(other[:k])) for true, other in zip(exact, found, strict=True))
    return hits / max(1, sum(len(true[:k]) for true in exact))


def search_speed(indexes: Sequence[Any], rows: Rows, queries: FloatArray) -> dict[str, float]:
    """Queries a second, by how many are asked together."""
    speeds = {}
    for together in (1, 32):
        batches = [queries[start : start + together] for start in range(0, min(len(queries), 8 * together), together)]
        for timed in (batches[:1], batches):  # the first look-up reads files and loads libraries
            start = time.perf_counter()
            for batch in timed:
                for shard, index in zip(rows.shards, indexes, strict=True):
                    index.search(batch, 10, np.arange(shard.count))
        speeds[str(together)] = round(sum(map(len, batches)) / (time.perf_counter() - start), 1)
    return speeds
