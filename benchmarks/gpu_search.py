"""Exact search, projection and k-means on a GPU, beside the same on the processor, with the same results.

    python -m benchmarks.gpu_search [--count 1000000] [--width 512] [--rounds 3]

Both passes alternate over the same clustered vectors in one process, for batches of 1 to 1,000 queries: the ten nearest
and a projection at temperature 0.01. The minimum of the rounds counts, in wall seconds; the copy of the vectors to the
GPU is timed apart. Rows and scores have to be equal, and a difference stops the script. K-means finds as many centers
as an index of this size has lists.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.datastore_search import BATCHES, TEMPERATURE, K, clustered, make_queries
from sonogloss.bridge import finish
from sonogloss.indexes.approximate import lists
from sonogloss.indexes.clusters import ROWS_A_CENTER, cluster_centers
from sonogloss.indexes.device_scan import put_on_device, scan_on_device
from sonogloss.indexes.scan import Scan, scan
from sonogloss.indexes.train import spread
from sonogloss.records import FloatArray

T = TypeVar("T")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu:0")
    parser.add_argument("--output", type=Path, default=Path("bench-output/gpu-search"))
    parser.add_argument("--short", action="store_true", help="20,000 captions, 1 round, batches up to 32")
    options = parser.parse_args()
    count, rounds = (20_000, 1) if options.short else (options.count, options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "no GPU: PyTorch on the processor"
    print(f"{name}; {os.cpu_count()} processors, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        vectors = clustered(Path(folder) / "vectors.npy", count, options.width)
        np.asarray(vectors).sum()  # into the page cache
        moved, placed = _timed(lambda: put_on_device(vectors, options.device))
        if placed is None:
            raise SystemExit("The vectors do not fit into half of the device's free memory.")
        print(f"{count:,} vectors to the device: {moved:.2f} s")
        queries = make_queries(vectors, max(BATCHES))
        batches = [n for n in BATCHES if not options.short or n <= 32]
        report = [_compare(vectors, placed, queries[:n], rounds) for n in batches]
        report.append(_compare_centers(vectors, lists(count), options.device))
    (options.output / "report.json").write_text(json.dumps(report, indent=2))


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    found = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, found


def _compare(vectors: FloatArray, placed: torch.Tensor, queries: FloatArray, rounds: int) -> dict[str, Any]:
    """Both passes in turn, once to warm up and `rounds` times for the clock."""
    for temperature in (TEMPERATURE, None):
        ways: dict[str, Callable[[], Scan]] = {
            "processor": lambda t=temperature: scan(vectors, queries, k=K, temperature=t),
            "device": lambda t=temperature: scan_on_device(placed, vectors, queries, k=K, temperature=t),
        }
        best = dict.fromkeys(ways, np.inf)
        found = {way: call() for way, call in ways.items()}
        for _ in range(rounds):
            for way, call in ways.items():
                best[way] = min(best[way], _timed(call)[0])
        for (scores, rows), (expected, nearest) in zip(
            found["device"].nearest, found["processor"].nearest, strict=True
        ):
            if not (np.array_equal(rows, nearest) and np.array_equal(scores, expected)):
                raise SystemExit("The device found other rows.")
        row = {"queries": len(queries), "projection": temperature is not None, **best}
        if found["device"].softmax is not None and found["processor"].softmax is not None:
            projected = [finish(one.softmax, renormalise=True) for one in found.values() if one.softmax is not None]
            row["largest_difference"] = float(np.abs(projected[0] - projected[1]).max())
        print(json.dumps(row), flush=True)
    return row


def _compare_centers(vectors: FloatArray, count: int, device: str) -> dict[str, Any]:
    """K-means on both: seconds, and the mean cosine of other rows to their nearest center."""
    sample = np.asarray(vectors[spread(len(vectors), count * ROWS_A_CENTER)])
    held_out = np.asarray(vectors[1 :: max(1, len(vectors) // 20_000)])
    row: dict[str, Any] = {"centers": count, "rows": len(sample)}
    first = None
    for way, where in (("device", device), ("again", device), ("processor", "cpu")):
        seconds, centers = _timed(lambda where=where: cluster_centers(sample, count, device=where))
        row[way] = {"seconds": seconds, "cosine": float((held_out @ centers.T).max(axis=1).mean())}
        first = centers if first is None else first
        row[way]["as_before"] = bool(np.array_equal(first, centers))
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
