"""Write a datastore: shards and support parts in any order and by any number of workers, then the manifest.

Every file is written whole under its final name, and equal input gives equal bytes, so a shard that two workers write
(a retry) is the same shard. Nothing counts until :func:`commit_datastore` has written the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

import sonogloss
from sonogloss import files
from sonogloss.errors import InputError, StoreFormatError
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import (
    ALL,
    OWN,
    IndexEntry,
    Manifest,
    ShardEntry,
    SourceEntry,
    SupportEntry,
    SupportPart,
    part_from_json,
    shard_from_json,
    to_json,
    write_manifest,
)
from sonogloss.indexes.shard_writer import ShardWriter, file_entry
from sonogloss.indexes.vectors import check_stored, raw, write_header
from sonogloss.records import FloatArray

_Entry = TypeVar("_Entry", ShardEntry, SupportPart)


def write_shard(
    directory: str, number: int, captions: pa.Table, vectors: FloatArray, dtype: str = "float32"
) -> dict[str, Any]:
    """Write one shard at once; :class:`~sonogloss.indexes.shard_writer.ShardWriter` does it in pieces.

    Args:
        directory: the datastore's path or URL.
        number: the shard's number, 0 <= number < 100000; it names the folder.
        captions: columns id (int64), text, source without nulls, then any others of the source file.
        vectors: float32 [rows, dim], unit rows, row i for caption i.
        dtype: `float32` or `float16`, what vectors are stored as.

    Returns:
        The shard's entry for :func:`commit_datastore`, as plain JSON values.

    Raises:
        InputError: columns are missing, lengths differ, or a vector is not finite or not unit.
        OutputError: the place cannot be written.
    """
    dim = vectors.shape[1] if vectors.ndim == 2 else 0
    with ShardWriter(directory, number, rows=captions.num_rows, dim=dim, dtype=dtype) as writer:
        writer.add(captions, vectors)
    return writer.entry()


def write_support_part(directory: str, number: int, vectors: FloatArray, dtype: str = "float32") -> dict[str, Any]:
    """Write one part of the support.

    Args:
        directory: the datastore's path or URL.
        number: the part's number; it names the file.
        vectors: float32 [rows, dim], unit rows; a row that occurs twice weighs twice.
        dtype: `float32` or `float16`, as the shards' vectors.

    Returns:
        The part's entry for :func:`commit_datastore`, as plain JSON values.

    Raises:
        InputError: a vector is not finite or not unit.
        OutputError: the place cannot be written.
    """
    checked = check_stored(vectors, what=f"support part {number}")
    name = f"support/part-{number:05d}.npy"
    with files.atomic_write(files.join(directory, name)) as handle:
        rows, dim = checked.shape
        write_header(handle, rows, dim, np.dtype(dtype))
        handle.write(raw(checked, np.dtype(dtype)))
    return to_json(SupportPart(number=number, count=rows, dim=dim, file=file_entry(directory, name)))


def commit_datastore(
    directory: str,
    *,
    shards: Sequence[Mapping[str, Any]],
    support: Sequence[Mapping[str, Any]] | None = None,
    clap: Mapping[str, Any],
    options: Mapping[str, Any],
    licenses: Mapping[str, str] | None = None,
    index: IndexEntry | None = None,
    vectors: str = "float32",
    support_kind: str = OWN,
) -> Manifest:
    """Write the manifest, which makes the directory a datastore.

    Args:
        directory: the datastore's path or URL.
        shards: what :func:`write_shard` returned, in any order, each number once; shards without captions are left out.
        support: what :func:`write_support_part` returned, in any order, each number once; may be empty. None makes the
            shards' vectors the support.
        clap: name, fingerprint and dim of the CLAP that made the vectors, and whatever else is known of it.
        options: the full options of the job, for whoever asks later how this was made.
        licenses: licence text by source name.
        index: what :func:`sonogloss.indexes.train.measure` says of the shards' index; None where there is none.
        vectors: what vectors are stored as.
        support_kind: where the parts of the support come from.

    Returns:
        The manifest as written.

    Raises:
        InputError: there are no captions.
        StoreFormatError: entries contradict one another or the files on disk.
        OutputError: the place cannot be written.
    """
    entries = _sorted(map(shard_from_json, shards))
    if not entries:
        raise InputError(
            "The datastore would hold no captions: no line of --captions could be read as text.",
            "Check the files, their encoding (UTF-8) and --text-column; dead_letters in --output names bad lines.",
        )
    count = sum(shard.count for shard in entries)
    try:
        manifest = Manifest(
            created_by=f"sonogloss {sonogloss.__version__}",
            options=options,
            count=count,
            dim=entries[0].dim,
            clap=clap,
            shards=tuple(entries),
            sources=_sources(entries, licenses or {}),
            support=SupportEntry(count=count, kind=ALL) if support is None else _support(support, support_kind),
            index=index or KINDS["flat"].describe(),
            vectors=vectors,
        )
    except ValueError as error:
        raise StoreFormatError(f"The datastore does not fit together: {error}.", "Build it with one CLAP.") from error
    _check_files(directory, manifest)
    write_manifest(directory, manifest)
    return manifest


def _support(parts: Iterable[Mapping[str, Any]], kind: str) -> SupportEntry:
    entries = _sorted(map(part_from_json, parts))
    return SupportEntry(count=sum(part.count for part in entries), parts=tuple(entries), kind=kind)


def _sorted(found: Iterable[_Entry]) -> list[_Entry]:
    """Entries with rows, by number.

    Raises:
        StoreFormatError: a number occurs twice.
    """
    entries = sorted((entry for entry in found if entry.count), key=lambda entry: entry.number)
    numbers = [entry.number for entry in entries]
    if len(set(numbers)) < len(numbers):
        raise StoreFormatError(f"A shard number is given twice ({numbers}).", "Commit each shard once.")
    return entries


def _check_files(directory: str, manifest: Manifest) -> None:
    for file in manifest.files():
        path = files.join(directory, file.path)
        if not files.exists(path) or files.size(path) != file.bytes:
            raise StoreFormatError(f"{path!r} is not the file that was written.", "Build the datastore again.")


def _sources(shards: Sequence[ShardEntry], licenses: Mapping[str, str]) -> tuple[SourceEntry, ...]:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard.sources)
    return tuple(
        SourceEntry(name=name, license=licenses.get(name), count=count) for name, count in sorted(counts.items())
    )
