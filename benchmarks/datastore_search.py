"""Search and projection in one pass: beside the first release's two, FAISS's flat index and plain matrix products.

    python -m benchmarks.datastore_search [--count 1000000] [--width 512] [--rounds 3]

For batches of 1 to 1,000 queries, in one process and alternating:

* `search_and_project` of the ten nearest and a projection at temperature 0.01;
* the first release's way: FAISS's IndexFlatIP for the search, then float64 products in blocks for the projection;
* IndexFlatIP alone, beside `search` alone, with FAISS's BLAS threshold at its default and at its best;
* `queries @ block.T` alone, into memory that is used again, whose rate is the limit: one pass with a projection is two
  such products.

The minimum of the rounds counts. Vectors lie on disk and are memory-mapped. Both wall and CPU seconds are given: on a
shared machine the latter are steadier.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from sonogloss import bridge
from sonogloss.bridge import finish
from sonogloss.indexes.scan import scan
from sonogloss.records import FloatArray

BATCHES = (1, 8, 32, 128, 1000)
K, TEMPERATURE = 10, 0.01
_MARGIN, _BLOCK = 8, 2048


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--output", type=Path, default=Path("bench-output/datastore-search"))
    parser.add_argument("--short", action="store_true", help="20,000 captions, 1 round, batches up to 32")
    options = parser.parse_args()
    count, rounds = (20_000, 1) if options.short else (options.count, options.rounds)
    batches = (1, 32) if options.short else options.batches
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        vectors = clustered(Path(folder) / "vectors.npy", count, options.width)
        index = faiss.IndexFlatIP(options.width)
        index.add(vectors)
        queries = make_queries(vectors, max(batches))
        rows = [measure(vectors, index, queries[:n], rounds) for n in batches]
    (options.output / "report.json").write_text(json.dumps(rows, indent=2))


def clustered(path: Path, count: int, width: int) -> FloatArray:
    """Clustered unit vectors with a common direction, as embeddings of captions have."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((2000, width), dtype=np.float32) + rng.standard_normal(width, dtype=np.float32)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, width))
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        block = centers[rng.integers(0, len(centers), rows)] + rng.standard_normal((rows, width), dtype=np.float32)
        vectors[start : start + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    vectors.flush()
    return np.load(path, mmap_mode="r")


def make_queries(vectors: FloatArray, n: int) -> FloatArray:
    """Unit rows near some of the vectors, and not one of them."""
    rng = np.random.default_rng(1)
    near = vectors[np.sort(rng.choice(len(vectors), n, replace=len(vectors) < n))]
    mixed = near + 0.06 * rng.standard_normal(near.shape, dtype=np.float32)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def measure(vectors: FloatArray, index: Any, queries: FloatArray, rounds: int) -> dict[str, Any]:
    """Wall and CPU seconds of every way for one batch, after checking that answers agree."""
    ways: dict[str, Callable[[], Any]] = {
        "one pass": lambda: scan(vectors, queries, k=K, temperature=TEMPERATURE),
        "before": lambda: (_faiss(index, queries), project_before(queries, vectors)),
        "search": lambda: scan(vectors, queries, k=K),
        "IndexFlatIP": lambda: _faiss(index, queries),
        "IndexFlatIP, BLAS": lambda: _faiss(index, queries, threshold=1),
        "product": lambda: _products(queries, np.asarray(vectors)),
    }
    _check(vectors, index, queries)
    best = {name: (float("inf"), float("inf")) for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            taken = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = min(best[name][0], taken[0]), min(best[name][1], taken[1])
    row: dict[str, Any] = {"queries": len(queries)}
    for place, kind in enumerate(("wall", "cpu")):
        seconds = {name: taken[place] for name, taken in best.items()}
        row[kind] = {name: round(value, 4) for name, value in seconds.items()} | {
            "one pass / before": round(seconds["one pass"] / seconds["before"], 3),
            "of the product's rate": round(2 * seconds["product"] / seconds["one pass"], 3),
            "search / IndexFlatIP": round(
                seconds["search"] / min(seconds["IndexFlatIP"], seconds["IndexFlatIP, BLAS"]), 3
            ),
        }
    print(json.dumps(row), flush=True)
    return row


def _products(queries: FloatArray, vectors: FloatArray) -> None:
    scores = np.empty((len(queries), _BLOCK), np.float32)
    for start in range(0, len(vectors) - _BLOCK + 1, _BLOCK):
        np.matmul(queries, vectors[start : start + _BLOCK].T, out=scores)


def _faiss(index: Any, queries: FloatArray, threshold: int = 128_000) -> Any:
    faiss.cvar.distance_compute_blas_threshold = threshold
    return index.search(queries, K + _MARGIN)


def project_before(queries: FloatArray, vectors: FloatArray) -> FloatArray:
    """The first release's projection: float64 products of blocks of 2,048 rows."""
    return bridge.project(queries, vectors, temperature=TEMPERATURE, renormalise=True)


def _check(vectors: FloatArray, index: Any, queries: FloatArray) -> None:
    some = queries[:8]
    found = scan(vectors, some, k=K, temperature=TEMPERATURE)
    exact = some.astype(np.float64) @ np.asarray(vectors, np.float64).T if len(vectors) <= 50_000 else None
    if exact is not None and any(
        not np.array_equal(rows, np.argsort(-row, kind="stable")[:K])
        for (_, rows), row in zip(found.nearest, exact, strict=True)
    ):
        raise SystemExit("the order is not that of float64")
    assert found.softmax is not None
    difference = np.abs(finish(found.softmax, renormalise=True) - project_before(some, vectors)).max()
    if difference > 1e-6:
        raise SystemExit(f"the projection differs by {difference}")


if __name__ == "__main__":
    main()
