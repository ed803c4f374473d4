"""A datastore of several times the memory of the process that searches it.

    python -m benchmarks.store_beyond_memory [--gib 4] [--limit-gib 1] [--shards 16]

One process without a limit looks 32 queries up, and projects them, in a store that it maps whole. Two more may use
`--limit-gib` of address space (RLIMIT_AS), files that they map included: one maps the store whole, one opens it with
`search="partitioned"`. What a process finds is compared with what the first one found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sonogloss.errors import SonoglossError
from sonogloss.indexes import Datastore, commit_datastore, write_shard

GIB = 1 << 30
WIDTH, QUERIES = 512, 32


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--limit-gib", type=float, default=1)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("bench-output/store-beyond-memory"))
    parser.add_argument("--short", action="store_true", help="a store of 64 MiB, and no limit that it could break")
    parser.add_argument("--search", help=argparse.SUPPRESS)
    options = parser.parse_args()
    store = options.output / "store"
    if options.search:
        print(json.dumps(look_up(store, options.search)))
        return
    size = 1 / 16 if options.short else options.gib
    write_store(store, rows=int(size * GIB / 4 / WIDTH), shards=options.shards)
    expected = run(options, "replicated", None)
    rows = [expected, run(options, "replicated", options.limit_gib), run(options, "partitioned", options.limit_gib)]
    for row in rows:
        same = row.get("digest") == expected.get("digest", "")
        print(json.dumps({name: value for name, value in row.items() if name != "digest"} | {"same": same}), flush=True)
    shutil.rmtree(store)
    if rows[2].get("error"):
        raise SystemExit("the store that is opened shard by shard did not answer")


def write_store(store: Path, *, rows: int, shards: int) -> None:
    """Random unit vectors, a shard at a time."""
    rng = np.random.default_rng(0)
    entries = []
    for number, numbers in enumerate(np.array_split(np.arange(rows), shards)):
        vectors = rng.standard_normal((len(numbers), WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        texts = [f"caption {row}" for row in numbers.tolist()]
        captions = pa.table({"id": numbers, "text": texts, "source": ["random"] * len(numbers)})
        entries.append(write_shard(str(store), number, captions, vectors))
    clap = {"name": "random", "fingerprint": "0" * 64, "dim": WIDTH}
    commit_datastore(str(store), shards=entries, support=None, clap=clap, options={})


def run(options: argparse.Namespace, search: str, limit_gib: float | None) -> dict[str, Any]:
    """What a process of its own says, within a limit on its address space where one is given."""

    def limit() -> None:
        if limit_gib is not None:
            resource.setrlimit(resource.RLIMIT_AS, (int(limit_gib * GIB), int(limit_gib * GIB)))

    command = [sys.executable, "-m", "benchmarks.store_beyond_memory", "--output", str(options.output)]
    done = subprocess.run(
        [*command, "--search", search],
        preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines() or [json.dumps({"error": (done.stderr.splitlines() or ["killed"])[-1]})]
    return {"search": search, "limit_gib": limit_gib, **json.loads(lines[-1])}


def look_up(store: Path, search: str) -> dict[str, Any]:
    """Look the queries up in this process: a digest of what was found, seconds, and the address space it took."""
    queries = np.random.default_rng(1).standard_normal((QUERIES, WIDTH), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    start = time.perf_counter()
    try:
        opened = Datastore.open(str(store), search=search)  # type: ignore[arg-type]  # one of the two words
        contexts, projected = opened.search_and_project(queries, 10, temperature=0.02, renormalise=True)
    except (SonoglossError, MemoryError, OSError) as error:
        return {"error": str(error).splitlines()[0]}
    found = [[(context.id, context.score) for context in row] for row in contexts]
    return {
        "captions": opened.count,
        "seconds": round(time.perf_counter() - start, 2),
        "peak_address_space_gib": round(_peak() / GIB, 2),
        "digest": hashlib.sha256(repr(found).encode() + projected.tobytes()).hexdigest(),
    }


def _peak() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
