import numpy as np
import pyarrow as pa
import pytest

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
    """A committed datastore of captions `caption 0..n-1`."""
    texts = [f"caption {i}" for i in range(len(vectors))]
    entries = []
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), shards)):
        chosen = None if ids is None else [ids[r] for r in rows]
        table = captions([texts[r] for r in rows], ids=chosen)
        entries.append(write_shard(str(directory), number, table, vectors[rows]))
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


@pytest.fixture
def store_dir(tmp_path) -> str:
    return build(tmp_path / "store", unit_rows(20), shards=3)
