import hashlib
import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from sonogloss import files
from sonogloss.indexes import commit_datastore, write_shard, write_support_part
from sonogloss.records import caption_id

CLAP = {"name": "toy", "fingerprint": "f" * 64, "dim": 8}


def unit_rows(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def captions(texts: list[str], source: str = "toy", ids: list[int] | None = None) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(ids or [caption_id(t) for t in texts], pa.int64()),
            "text": texts,
            "source": [source] * len(texts),
            "split": ["train"] * len(texts),
        }
    )


def build(directory, vectors, *, shards=1, support=None, ids=None, fingerprint=CLAP["fingerprint"]) -> str:
    """A committed datastore of captions `caption 0..n-1`; the support `all` is the captions' own vectors."""
    texts = [f"caption {i}" for i in range(len(vectors))]
    entries = []
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), shards)):
        chosen = None if ids is None else [ids[r] for r in rows]
        table = captions([texts[r] for r in rows], ids=chosen)
        entries.append(write_shard(str(directory), number, table, vectors[rows]))
    parts = None
    if not isinstance(support, str):
        parts = [write_support_part(str(directory), i, part) for i, part in enumerate(support or [vectors])]
    clap = CLAP | {"dim": vectors.shape[1], "fingerprint": fingerprint}
    commit_datastore(
        str(directory),
        shards=entries,
        support=parts,
        clap=clap,
        options={"captions": ["x.txt"]},
        licenses={"toy": "CC0"},
    )
    return str(directory)


def build_format1(directory, vectors, *, shards=1, texts=None) -> str:
    """A datastore as the first release wrote it."""
    store, entries = str(directory), []
    texts = texts or [f"caption {i}" for i in range(len(vectors))]
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), shards)):
        folder = f"shards/{number:05d}"
        files.write_table(f"{store}/{folder}/captions.parquet", captions([texts[r] for r in rows]))
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors[rows])
        faiss.write_index(index, f"{store}/{folder}/vectors.faiss")
        listed = [files.file_entry(store, f"{folder}/{name}") for name in ("captions.parquet", "vectors.faiss")]
        entry = {"number": number, "count": len(rows), "dim": vectors.shape[1], "sources": {"toy": len(rows)}}
        entries.append(entry | {"files": listed})
    (Path(store) / "support").mkdir()
    np.save(f"{store}/support/part-00000.npy", vectors)
    part = {"number": 0, "count": len(vectors), "dim": vectors.shape[1]}
    part |= {"file": files.file_entry(store, "support/part-00000.npy")}
    manifest = {
        "format": "sonogloss-datastore",
        "format_version": 1,
        "created_by": "sonogloss 0.1.0",
        "options": {"captions": ["x.txt"]},
        "count": len(vectors),
        "dim": vectors.shape[1],
        "clap": CLAP | {"dim": vectors.shape[1]},
        "shards": entries,
        "sources": [{"name": "toy", "license": "CC0", "count": len(vectors)}],
        "support": {"count": len(vectors), "parts": [part]},
        "index": {"kind": "flat", "factory": "Flat", "recall_at_10": 1.0, "measured_on": "exact by construction"},
    }
    files.write_json(f"{store}/manifest.json", manifest)
    return store


def edit_manifest(store: str, **changes: object) -> None:
    """Change keys of a manifest, and its digest with them."""
    content = files.read_json(f"{store}/manifest.json") | changes
    del content["sha256"]
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    files.write_json(f"{store}/manifest.json", content)


@pytest.fixture
def store_dir(tmp_path) -> str:
    return build(tmp_path / "store", unit_rows(20), shards=3)
