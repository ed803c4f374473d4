"""write_shards: embedded shards -> files of the datastore: captions, their index, and their part of the support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from sonogloss.indexes import write_shard
from sonogloss.transforms.embed_text import EmbeddedShard

_TYPES = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}


def write_embedded(shard: EmbeddedShard, columns: Mapping[str, str], *, output: str) -> dict[str, Any]:
    """Write one shard.

    Args:
        shard: captions and vectors.
        columns: the source files' further columns and their types, equal for all shards.
        output: the datastore's directory.

    Returns:
        The entry for the manifest.
    """
    return write_shard(output, shard.number, shard_table(shard, columns), shard.vectors)


def shard_table(shard: EmbeddedShard, columns: Mapping[str, str]) -> pa.Table:
    """The captions of a shard as a table: id, text, source, then the further columns, null where a file lacks one."""
    arrays = {
        "id": pa.array([line.id for line in shard.lines], pa.int64()),
        "text": pa.array([line.text for line in shard.lines], pa.string()),
        "source": pa.array([line.source for line in shard.lines], pa.string()),
    }
    convert = {"int": int, "float": float, "str": str}
    for name, kind in columns.items():
        values = [line.extra.get(name) for line in shard.lines]
        arrays[name] = pa.array([None if value is None else convert[kind](value) for value in values], _TYPES[kind])
    return pa.table(arrays)
