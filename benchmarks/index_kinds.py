"""What the kinds of index find in a large store, how large they are, and how fast.

    python -m benchmarks.index_kinds [--captions captions.txt] [--count 1000000] [--width 512] [--recall 0.95]

Vectors are clustered ones; or the pocket CLAP's of distinct sentences, each the first half of one line of the captions
and the second half of another, kept below the output for the next run. For each kind, in one process: CPU seconds to
train it and to fill it, its bytes a vector beside the vectors, recall of the ten nearest of 500 rows that it was not
trained on, as FAISS ranks them (raw) and as the stored vectors decide (re-ranked), and queries a second, 1 and 32 at a
time, at the cheapest setting that reaches `--recall`.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.datastore_build import recombined
from benchmarks.datastore_search import clustered
from sonogloss import files
from sonogloss.clap import load_clap
from sonogloss.indexes import train as training
from sonogloss.indexes import write_shard
from sonogloss.indexes.flat import FlatIndex
from sonogloss.indexes.layout import INDEX, FileEntry, shard_from_json
from sonogloss.indexes.recall import measure, nearest_others, open_index, recall, search_speed, write_queries
from sonogloss.indexes.train import IndexRequest, Rows, add_index, held_out, train
from sonogloss.pipelines.running.first_windows import embed_queries
from sonogloss.records import FloatArray
from sonogloss.transforms.embed_text import embed_texts

KINDS = ("flat", "ivf-flat", "ivf-rabitq", "ivf-pq", "HNSW32")
SHARDS = 4
PIECE = 25_000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="a text file of captions, one a line, that are recombined")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--recall-audio", nargs="+", default=(), help="recordings whose ten nearest must be found too")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--rotation-rows", type=int, default=training.ROTATION_ROWS, help="that ivf-pq rotates by")
    parser.add_argument("--output", type=Path, default=Path("bench-output/index-kinds"))
    parser.add_argument("--short", action="store_true", help="20,000 vectors of width 64, two kinds")
    options = parser.parse_args()
    count, width = (20_000, 64) if options.short else (options.count, options.width)
    training.ROTATION_ROWS = options.rotation_rows
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        if options.captions is None:
            vectors = clustered(Path(folder) / "clustered.npy", count, width)
        else:
            vectors = embed_recombined(options.captions, count, options.output / "captions")
        audio = None
        if options.captions and options.recall_audio:
            audio = write_queries(folder, embed_queries(options.recall_audio, load_clap("pocket")))
        shards = [
            write_shard(folder, number, _captions(rows), vectors[rows])
            for number, rows in enumerate(np.array_split(np.arange(len(vectors)), SHARDS))
        ]
        for kind in KINDS[:2] if options.short else options.kinds:
            request = IndexRequest(name=kind, recall=options.recall)
            print(json.dumps(try_kind(folder, shards, request, audio=audio)), flush=True)


def embed_recombined(captions: Path, count: int, kept: Path) -> FloatArray:
    """Text embeddings [count, dim] of recombined captions; pieces that a run before this one embedded are read."""
    kept.mkdir(parents=True, exist_ok=True)
    lines = captions.read_text().splitlines()
    name = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    clap, pieces = load_clap("pocket"), []
    texts = recombined(lines, count)
    for start in range(0, count, PIECE):
        piece, path = list(itertools.islice(texts, PIECE)), kept / f"{name}-{start}-{min(count, start + PIECE)}.npy"
        if not path.exists():
            with files.atomic_write(str(path)) as handle:
                np.save(handle, embed_texts(piece, clap))
        pieces.append(np.load(path, mmap_mode="r"))
    return np.concatenate(pieces)


def _captions(rows: np.ndarray[Any, Any]) -> pa.Table:
    return pa.table({"id": rows, "text": [""] * len(rows), "source": [""] * len(rows)})


def try_kind(
    folder: str, shards: list[dict[str, Any]], request: IndexRequest, *, audio: FileEntry | None = None
) -> dict[str, Any]:
    """Train, fill and measure one kind of index."""
    start = time.process_time()
    trained = train(folder, shards, request, dtype="float32")
    training = time.process_time() - start
    rows = Rows(folder, [shard_from_json(shard) for shard in shards], "float32")
    row: dict[str, Any] = {"kind": request.name, "vectors": rows.count}
    asked = held_out(rows.count)
    queries = rows.take(asked)
    exact = [FlatIndex(rows.open(shard)) for shard in rows.shards]
    if trained is None:
        return {**row, "queries_per_s": search_speed(exact, rows, queries)}
    filled = [add_index(shard, trained, directory=folder, dtype="float32") for shard in shards]
    building = time.process_time() - start
    entry, measured = measure(folder, filled, trained, request, dtype="float32", queries=audio)
    rows = Rows(folder, [shard_from_json(shard) for shard in filled], "float32")
    size = sum(shard.file(INDEX).bytes for shard in rows.shards)
    opened = [open_index(rows, shard, folder) for shard in rows.shards]
    for index in opened:
        index.set(entry.parameters or {})
    raw = [_Raw(index) for index in opened]
    true = nearest_others(exact, rows, queries, asked)
    return {
        **row,
        "factory": entry.factory,
        "bytes_a_vector": round(size / rows.count, 1),
        "train_cpu_s": round(training, 1),
        "build_cpu_s": round(building, 1),
        "setting": entry.parameters,
        "recall_at_10_raw": round(recall(true, nearest_others(raw, rows, queries, asked), 10), 4),
        "recall_at_10": entry.recall_at_10,
        "audio_recall_at_10": entry.audio_recall_at_10,
        **measured,
    }


class _Raw:
    """The order in which FAISS ranks what it finds, by its own estimate of each score."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def search(self, queries: FloatArray, k: int, ids: Any) -> list[tuple[Any, Any]]:
        return [
            (scores[rows >= 0], rows[rows >= 0])
            for scores, rows in zip(*self._index.faiss_index.search(queries, k), strict=True)
        ]


if __name__ == "__main__":
    main()
