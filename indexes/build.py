"""Write a datastore: shards and support parts in any order and by any number of workers, then the manifest.

Every file is written whole under its final name, and equal input gives equal bytes, so a shard that two workers write
(a retry) is the same shard. Nothing counts until :func:`commit_datastore` has written the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import sonogloss
from sonogloss import files
from sonogloss.errors import InputError, StoreFormatError
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import (
    CAPTIONS,
    MANIFEST,
    VECTORS,
    FileEntry,
    Manifest,
    ShardEntry,
    SourceEntry,
    SupportEntry,
    SupportPart,
    part_from_json,
    shard_from_json,
    to_json,
)
from sonogloss.indexes.vectors import check_stored
from sonogloss.records import FloatArray

_LEADING_COLUMNS = (("id", pa.int64()), ("text", pa.string()), ("source", pa.string()))


def write_shard(
    directory: str, number: int, captions: pa.Table, vectors: FloatArray, kind: str = "flat"
) -> dict[str, Any]:
    """Write one shard of the contexts: captions and an index of their vectors in the same order.

    Args:
        directory: the datastore's path or URL.
        number: the shard's number, 0 <= number < 100000; it names the folder.
        captions: columns id (int64), text, source without nulls, then any others of the source file.
        vectors: float32 [rows, dim], unit rows, row i for caption i.
        kind: of the index, see :mod:`sonogloss.indexes.kinds`.

    Returns:
        The shard's entry for :func:`commit_datastore`, as plain JSON values.

    Raises:
        InputError: columns are missing, lengths differ, or a vector is not finite or not unit.
        OutputError: the place cannot be written.
    """
    captions = _with_leading_columns(captions, number)
    checked = check_stored(vectors, what=f"shard {number}")
    if len(checked) != captions.num_rows:
        raise InputError(
            f"Shard {number} has {captions.num_rows} captions and {len(checked)} vectors.", "Give one vector a caption."
        )
    folder = f"shards/{number:05d}"
    files.write_table(files.join(directory, folder, CAPTIONS), captions)
    index = KINDS[kind].train(checked)
    KINDS[kind].add(index, checked)
    with files.atomic_write(files.join(directory, folder, VECTORS)) as handle:
        faiss.write_index(index, faiss.PyCallbackIOWriter(handle.write))  # type: ignore[attr-defined]  # not in the stubs
    return to_json(
        ShardEntry(
            number=number,
            count=captions.num_rows,
            dim=checked.shape[1],
            sources=_count_sources(captions),
            files=tuple(_entry(directory, f"{folder}/{name}") for name in (CAPTIONS, VECTORS)),
        )
    )


def _count_sources(captions: pa.Table) -> dict[str, int]:
    counted = captions.column("source").value_counts().to_pylist()
    return dict(sorted((item["values"], item["counts"]) for item in counted))


def _with_leading_columns(captions: pa.Table, number: int) -> pa.Table:
    names = [name for name, _ in _LEADING_COLUMNS]
    if missing := set(names) - set(captions.column_names):
        raise InputError(f"The captions of shard {number} lack {sorted(missing)}.", "Give columns id, text and source.")
    columns = {name: pc.cast(captions.column(name), kind) for name, kind in _LEADING_COLUMNS}
    if empty := [name for name, column in columns.items() if column.null_count]:
        raise InputError(f"The captions of shard {number} have nulls in {empty}.", "Drop these rows first.")
    others = {name: captions.column(name) for name in captions.column_names if name not in names}
    schema = [pa.field(name, kind, nullable=False) for name, kind in _LEADING_COLUMNS]
    schema += [captions.schema.field(name) for name in others]
    return pa.table([*columns.values(), *others.values()], schema=pa.schema(schema)).combine_chunks()


def write_support_part(directory: str, number: int, vectors: FloatArray) -> dict[str, Any]:
    """Write one part of the support.

    Args:
        directory: the datastore's path or URL.
        number: the part's number; it names the file.
        vectors: float32 [rows, dim], unit rows; a row that occurs twice weighs twice.

    Returns:
        The part's entry for :func:`commit_datastore`, as plain JSON values.

    Raises:
        InputError: a vector is not finite or not unit.
        OutputError: the place cannot be written.
    """
    checked = check_stored(vectors, what=f"support part {number}")
    name = f"support/part-{number:05d}.npy"
    with files.atomic_write(files.join(directory, name)) as handle:
        np.lib.format.write_array(handle, checked, version=(1, 0), allow_pickle=False)
    rows, dim = checked.shape
    return to_json(SupportPart(number=number, count=rows, dim=dim, file=_entry(directory, name)))


def _entry(directory: str, name: str) -> FileEntry:
    return FileEntry(**files.file_entry(directory, name))


def commit_datastore(
    directory: str,
    *,
    shards: Sequence[Mapping[str, Any]],
    support: Sequence[Mapping[str, Any]],
    clap: Mapping[str, Any],
    options: Mapping[str, Any],
    licenses: Mapping[str, str] | None = None,
    kind: str = "flat",
) -> Manifest:
    """Write the manifest, which makes the directory a datastore.

    Args:
        directory: the datastore's path or URL.
        shards: what :func:`write_shard` returned, in any order, each number once; shards without captions are left out.
        support: what :func:`write_support_part` returned, in any order, each number once; may be empty.
        clap: name, fingerprint and dim of the CLAP that made the vectors, and whatever else is known of it.
        options: the full options of the job, for whoever asks later how this was made.
        licenses: licence text by source name.
        kind: of the index that the shards were written with.

    Returns:
        The manifest as written.

    Raises:
        InputError: there are no captions.
        StoreFormatError: entries contradict one another or the files on disk.
        OutputError: the place cannot be written.
    """
    entries = sorted((shard_from_json(s) for s in shards if s["count"]), key=lambda s: s.number)
    parts = sorted((part_from_json(p) for p in support if p["count"]), key=lambda p: p.number)
    if not entries:
        raise InputError(
            "The datastore would hold no captions: no line of --captions could be read as text.",
            "Check the files, their encoding (UTF-8) and --text-column; dead_letters in --output names bad lines.",
        )
    for numbered in ([s.number for s in entries], [p.number for p in parts]):
        if len(set(numbered)) < len(numbered):
            raise StoreFormatError(f"A shard number is given twice ({numbered}).", "Commit each shard once.")
    try:
        manifest = Manifest(
            created_by=f"sonogloss {sonogloss.__version__}",
            options=options,
            count=sum(shard.count for shard in entries),
            dim=entries[0].dim,
            clap=clap,
            shards=tuple(entries),
            sources=_sources(entries, licenses or {}),
            support=SupportEntry(count=sum(part.count for part in parts), parts=tuple(parts)),
            index=KINDS[kind].describe(),
        )
    except ValueError as error:
        raise StoreFormatError(f"The datastore does not fit together: {error}.", "Build it with one CLAP.") from error
    for file in manifest.files():
        path = files.join(directory, file.path)
        if not files.exists(path) or files.size(path) != file.bytes:
            raise StoreFormatError(f"{path!r} is not the file that was written.", "Build the datastore again.")
    files.write_json(files.join(directory, MANIFEST), to_json(manifest))
    return manifest


def _sources(shards: Sequence[ShardEntry], licenses: Mapping[str, str]) -> tuple[SourceEntry, ...]:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard.sources)
    return tuple(
        SourceEntry(name=name, license=licenses.get(name), count=count) for name, count in sorted(counts.items())
    )
