"""What a build needs to know of the datastore that it adds captions to."""

from __future__ import annotations

import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FingerprintMismatchError, MissingInputError, OutputError
from sonogloss.indexes.cache import check_files
from sonogloss.indexes.layout import CAPTIONS, MANIFEST, Manifest, read_manifest
from sonogloss.transforms.read_captions import merge_columns

_TYPES = {"int64": "int", "double": "float", "string": "str"}


def read_base(output: str, *, clap: str, fingerprint: str, check: str = "sample") -> Manifest:
    """The manifest of the datastore that is to grow, whose files are compared with it; `check` says how far.

    Raises:
        MissingInputError: there is none.
        OutputError: it has format 1.
        StoreFormatError: it is damaged.
        FingerprintMismatchError: another CLAP made it.
    """
    if not files.exists(files.join(output, MANIFEST)):
        raise MissingInputError(f"--append: {output!r} holds no finished datastore.", "Leave --append out.")
    manifest = read_manifest(output)
    if manifest.format_version == 1:
        raise OutputError(
            f"--append: {output!r} has format 1.",
            f"Run `sonogloss compact {output}` first, which brings it to format 2.",
        )
    if manifest.clap["fingerprint"] != fingerprint:
        raise FingerprintMismatchError(
            f"--append: {output!r} was made with the CLAP {manifest.clap['name']!r}, and {clap!r} is another one.",
            "Use that one, or build a datastore of its own.",
        )
    check_files(output, manifest, check)
    return manifest


def known_captions(output: str, base: Manifest) -> tuple[str, ...]:
    """The files with the captions that it has."""
    return tuple(files.join(output, shard.file(CAPTIONS).path) for shard in base.shards)


def known_columns(output: str, base: Manifest) -> dict[str, str]:
    """The further columns that it has, and their types."""
    columns: dict[str, str] = {}
    for path in known_captions(output, base):
        with files.open_read(path) as handle:
            schema = pq.read_schema(handle)
        found = {field.name: _TYPES.get(str(field.type), "str") for field in schema}
        columns = merge_columns(columns, {name: kind for name, kind in found.items() if name not in schema.names[:3]})
    return columns
