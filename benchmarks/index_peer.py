"""The index of a store beside autofaiss's: the same vectors, the same memory, one core.

    python -m venv peer && peer/bin/pip install 'autofaiss==2.18.0' 'pyarrow<20' 'faiss-cpu<1.10'
    python -m benchmarks.index_peer --peer-python peer/bin/python [--captions captions.txt] [--count 200000]

Vectors are those of benchmarks.index_kinds. Each side gets a .npy file and chooses an index for `--memory`, the share
of the vectors' own size that it may take, builds it and tunes its search: `--index auto` for `--recall`, autofaiss with
its defaults (10 ms a query, 20 neighbors) on one core. autofaiss runs under its own interpreter, one side after the
other. CPU seconds to build, from the file to an index on disk; recall of the ten nearest of the same 500 rows, each
with itself left out; milliseconds of CPU a query, 1 and 32 at a time, the least of three rounds. Ours also keeps the
vectors on disk, mapped, and scores candidates by them: `mapped_mb`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

K = 10
Row = dict[str, Any]


def main() -> None:
    """Run both sides and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter that has autofaiss; ours alone without it")
    parser.add_argument("--captions", type=Path, help="a text file of captions, one a line, that are recombined")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--memory", type=float, nargs="+", default=[1.2, 0.25], help="of the vectors' own size")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--limit", type=float, default=600, help="seconds after which the peer is stopped")
    parser.add_argument("--output", type=Path, default=Path("bench-output/index-kinds"))
    parser.add_argument("--short", action="store_true", help="20,000 vectors of width 64")
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        folder, memory, output = options.peer
        print(json.dumps(run_autofaiss(Path(folder), float(memory), Path(output))))
        return
    if options.short:
        options.count, options.width = 20_000, 64
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: Any) -> None:
    """Both sides with each budget, a line each."""
    from sonogloss.indexes.flat import FlatIndex
    from sonogloss.indexes.train import held_out

    vectors = load(folder, options)
    asked = held_out(len(vectors))
    (folder / "vectors").mkdir()
    np.save(folder / "vectors/part-0.npy", vectors)
    np.save(folder / "asked.npy", asked)
    found = FlatIndex(vectors).search(np.ascontiguousarray(vectors[asked]), K + 1, np.arange(len(vectors)))
    true = [rows for _, rows in found]
    for share in options.memory:
        memory = share * vectors.nbytes
        rows = {"ours": run_ours(folder, memory, options.recall, vectors, asked)}
        if options.peer_python:
            rows["autofaiss"] = call_peer(folder, memory, options)
        for name, row in rows.items():
            if "found" in row:
                row["recall_at_10"] = round(recall(true, row.pop("found"), asked), 4)
            size = {"vectors": len(vectors), "budget_mb": round(memory / 1e6)}
            print(json.dumps({"side": name, **size, **row}), flush=True)
        if all("ms_a_query" in row for row in rows.values()) and len(rows) == 2:
            print(json.dumps({"ours / autofaiss": ratios(*rows.values())}), flush=True)


def ratios(ours: Row, peer: Row) -> Row:
    """Of seconds to build, and of milliseconds a query."""
    speeds = {n: round(ours["ms_a_query"][n] / peer["ms_a_query"][n], 3) for n in ours["ms_a_query"]}
    return {"build": round(ours["build_cpu_s"] / peer["build_cpu_s"], 3), "ms_a_query": speeds}


def load(folder: Path, options: Any) -> Any:
    """The vectors [count, width] of benchmarks.index_kinds."""
    from benchmarks.datastore_search import clustered
    from benchmarks.index_kinds import embed_recombined

    if options.captions is None:
        return np.ascontiguousarray(clustered(folder / "clustered.npy", options.count, options.width))
    return embed_recombined(options.captions, options.count, options.output / "captions")


def run_ours(folder: Path, memory: float, wanted: float, vectors: Any, asked: Any) -> Row:
    """What build-datastore does with vectors, and look-ups in what it made."""
    import pyarrow as pa

    from sonogloss.indexes import write_shard
    from sonogloss.indexes.flat import FlatIndex
    from sonogloss.indexes.layout import INDEX, shard_from_json
    from sonogloss.indexes.recall import measure, open_index
    from sonogloss.indexes.train import IndexRequest, Rows, add_index, train

    store, ids = str(folder / f"store-{memory}"), np.arange(len(vectors))
    request = IndexRequest(memory=memory, recall=wanted)
    start = time.process_time()
    captions = pa.table({"id": ids, "text": [""] * len(ids), "source": [""] * len(ids)})
    shard = write_shard(store, 0, captions, vectors)
    trained, index, kind, size = train(store, [shard], request, dtype="float32"), None, "flat", 0
    if trained is not None:
        shard = add_index(shard, trained, directory=store, dtype="float32")
        entry, _ = measure(store, [shard], trained, request, dtype="float32")
        kind, size = entry.factory, shard_from_json(shard).file(INDEX).bytes
    built = time.process_time() - start
    rows = Rows(store, [shard_from_json(shard)], "float32")
    index = FlatIndex(rows.open(rows.shards[0]))
    if trained is not None:
        index = open_index(rows, rows.shards[0], store)
        index.set(entry.parameters or {})

    def search(queries: Any) -> list[Any]:
        return [found for _, found in index.search(queries, K + 1, ids)]

    sizes = {"index_mb": round(size / 1e6, 1), "mapped_mb": round(vectors.nbytes / 1e6, 1)}
    return {"index": kind, "build_cpu_s": round(built, 1), **sizes, **look_up(search, vectors[asked])}


def look_up(search: Callable[[Any], Any], queries: Any) -> Row:
    """What is found, and CPU milliseconds a query."""
    queries = np.ascontiguousarray(queries, np.float32)
    batches = [queries[start : start + 32] for start in range(0, len(queries), 32)]
    found = [list(map(int, rows)) for batch in batches for rows in search(batch)]
    speeds = {}
    for together in (1, 32):
        batches = [queries[start : start + together] for start in range(0, min(len(queries), 8 * together), together)]
        rounds = []
        for _ in range(3):
            start = time.process_time()
            for batch in batches:
                search(batch)
            rounds.append((time.process_time() - start) / sum(map(len, batches)))
        speeds[str(together)] = round(1000 * min(rounds), 3)
    return {"ms_a_query": speeds, "found": found}


def recall(true: Any, found: Any, asked: Any) -> float:
    """The share of the ten nearest other rows that was found."""
    hits = 0
    for exact, other, own in zip(true, found, asked.tolist(), strict=True):
        hits += len(set([row for row in exact if row != own][:K]) & set([row for row in other if row != own][:K]))
    return hits / (K * len(asked))


def call_peer(folder: Path, memory: float, options: Any) -> Row:
    """The other side, in its own interpreter; stopped at the limit."""
    command = [options.peer_python, __file__, "--peer", str(folder), str(memory), str(folder / f"peer-{memory}.faiss")]
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return {"stopped_after_s": options.limit}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def run_autofaiss(folder: Path, memory: float, output: Path) -> Row:
    """Under the peer's interpreter: build, tune, look up."""
    import faiss
    from autofaiss import build_index

    start = time.process_time()
    index, infos = build_index(
        str(folder / "vectors"),
        index_path=str(output),
        index_infos_path=str(output.with_suffix(".json")),
        max_index_memory_usage=f"{int(memory / 1e6)}MB",
        current_memory_available="16G",
        nb_cores=1,
        verbose=40,
    )
    built = time.process_time() - start
    faiss.omp_set_num_threads(1)
    asked = np.load(folder / "asked.npy")
    queries = np.load(folder / "vectors/part-0.npy", mmap_mode="r")[asked]
    row = look_up(lambda batch: index.search(batch, K + 1)[1], queries)
    size = round(output.stat().st_size / 1e6, 1)
    name = f"{infos['index_key']} {infos['index_param']}"
    return {"index": name, "build_cpu_s": round(built, 1), "index_mb": size, "mapped_mb": 0, **row}


if __name__ == "__main__":
    main()
