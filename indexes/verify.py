"""Recompute everything a datastore's manifest claims, and name what is wrong."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import InputError
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import CAPTIONS, Manifest, ShardEntry, read_manifest
from sonogloss.indexes.shard import open_index
from sonogloss.indexes.support import load_part


def verify(directory: str) -> list[str]:
    """What is wrong with the datastore at this path or URL, one sentence a problem; empty when all is well.

    Bytes and sha256 of every file are recomputed, and rows are counted in captions, and on a local disk in vectors and
    support too (elsewhere the digest stands for them).
    """
    try:
        manifest = read_manifest(directory)
    except InputError as error:
        return [str(error)]
    damaged = {
        entry.path: problem for entry in manifest.files() if (problem := files.file_problem(directory, vars(entry)))
    }
    problems = list(damaged.values())
    if manifest.index.kind not in KINDS:
        return [
            *problems,
            f"The index is of the kind {manifest.index.kind!r}, and this release reads {', '.join(KINDS)}.",
        ]
    for shard in manifest.shards:
        if not any(entry.path in damaged for entry in shard.files):
            problems += _check_shard(directory, shard, manifest.index.kind)
    return problems + _check_support(directory, manifest, damaged)


def _check_shard(directory: str, shard: ShardEntry, kind: str) -> list[str]:
    problems = []
    captions = shard.file(CAPTIONS).path
    try:
        with files.open_read(files.join(directory, captions)) as handle:
            parquet = pq.ParquetFile(handle)
            rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
    except (OSError, pa.ArrowException) as error:
        return [f"{captions} is not a Parquet file ({error})."]
    if rows != shard.count:
        problems.append(f"{captions} holds {rows} captions instead of {shard.count}.")
    if schema.names[:3] != ["id", "text", "source"] or schema.field("id").type != pa.int64():
        problems.append(f"{captions} does not begin with the columns id (int64), text and source.")
    if local := files.local_path(directory):
        try:
            open_index(local, shard, kind)
        except InputError as error:
            problems.append(error.what)
    return problems


def _check_support(directory: str, manifest: Manifest, damaged: dict[str, str]) -> list[str]:
    local = files.local_path(directory)
    if not local:
        return []
    problems = []
    for part in manifest.support.parts:
        if part.file.path not in damaged:
            try:
                load_part(local, part)
            except InputError as error:
                problems.append(error.what)
    return problems
