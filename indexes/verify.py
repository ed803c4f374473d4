"""Recompute everything a datastore's manifest claims, and name what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import InputError
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import CAPTIONS, MANIFEST, Manifest, ShardEntry, manifest_bytes, read_manifest
from sonogloss.indexes.shard import open_vectors
from sonogloss.indexes.support import load_part
from sonogloss.indexes.vectors import first_bad_row
from sonogloss.records import FloatArray

FOLDERS = ("shards", "support", "index")
"""Where the files of a datastore lie, beside its manifest and its dead letters."""

OURS = re.compile(
    r"shards/\d{5}/(captions\.parquet|vectors\.(npy|faiss)|index\.faiss)|support/part-\d{5}\.npy|"
    r"index/(trained\.faiss|queries\.npy)"
)
"""The names that a build gives to its files."""


def verify(directory: str) -> list[str]:
    """What is wrong with the datastore at this path or URL, one sentence a problem; empty when all is well.

    Bytes and sha256 of every file are recomputed, and rows are counted in captions; files that the manifest does not
    list are named. On a local disk every vector is checked too: finite and of unit length (elsewhere the digest stands
    for it).
    """
    try:
        manifest = read_manifest(directory)
    except InputError as error:
        return [str(error)]
    damaged = {
        entry.path: problem for entry in manifest.files() if (problem := files.file_problem(directory, vars(entry)))
    }
    problems = [*_check_spelling(directory, manifest), *damaged.values(), *_unlisted(directory, manifest)]
    if manifest.index.kind not in KINDS:
        return [
            *problems,
            f"The index is of the kind {manifest.index.kind!r}, and this release reads {', '.join(KINDS)}.",
        ]
    for shard in manifest.shards:
        if not any(entry.path in damaged for entry in shard.files):
            problems += _check_shard(directory, shard, manifest.vectors)
    return problems + _check_support(directory, manifest, damaged)


def _check_spelling(directory: str, manifest: Manifest) -> list[str]:
    """Its digest covers what a manifest says; that its bytes are those we wrote is compared."""
    content = files.read_bytes(files.join(directory, MANIFEST))
    if manifest.format_version == 1 or content == manifest_bytes(manifest):
        return []
    return [f"{MANIFEST} is not spelled as it was written."]


def unlisted(directory: str, manifest: Manifest) -> list[str]:
    """Names of the files in the datastore's folders that its manifest does not list, without hidden ones."""
    listed = {entry.path for entry in manifest.files()}
    found = [f"{folder}/{name}" for folder in FOLDERS for name in files.list_below(files.join(directory, folder))]
    return [name for name in found if name not in listed and not files.base_name(name).startswith(".")]


def _unlisted(directory: str, manifest: Manifest) -> list[str]:
    return [
        f"{name} is not in the manifest: {'it was left by another build' if OURS.fullmatch(name) else 'it is foreign'}."
        for name in unlisted(directory, manifest)
    ]


def _check_shard(directory: str, shard: ShardEntry, dtype: str) -> list[str]:
    problems = []
    captions = shard.file(CAPTIONS).path
    try:
        with files.open_read(files.join(directory, captions)) as handle:
            parquet = pq.ParquetFile(handle)
            rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
            ids = parquet.read(["id"]).column("id").to_numpy() if "id" in schema.names else np.zeros(0)
    except (OSError, pa.ArrowException) as error:
        return [f"{captions} is not a Parquet file ({error})."]
    if rows != shard.count:
        problems.append(f"{captions} holds {rows} captions instead of {shard.count}.")
    if schema.names[:3] != ["id", "text", "source"] or schema.field("id").type != pa.int64():
        problems.append(f"{captions} does not begin with the columns id (int64), text and source.")
    elif len(np.unique(ids)) < len(ids):
        problems.append(f"{captions} holds {len(ids) - len(np.unique(ids))} ids twice.")
    if local := files.local_path(directory):
        try:
            problems += _check_rows(shard.vectors.path, open_vectors(local, shard, dtype))
        except InputError as error:
            problems.append(error.what)
    return problems


def _check_rows(name: str, vectors: FloatArray) -> list[str]:
    bad = first_bad_row(vectors)
    if bad is None:
        return []
    return [f"{name} holds a vector that is not of unit length: row {bad[0]} ({bad[1]:.4g})."]


def _check_support(directory: str, manifest: Manifest, damaged: dict[str, str]) -> list[str]:
    local = files.local_path(directory)
    if not local:
        return []
    problems = []
    for part in manifest.support.parts:
        if part.file.path not in damaged:
            try:
                problems += _check_rows(part.file.path, load_part(local, part, manifest.vectors))
            except InputError as error:
                problems.append(error.what)
    return problems
