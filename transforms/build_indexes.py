"""build_indexes: when every shard is written, the manifest makes the directory a datastore.

Every shard carries its own exact index, so there is nothing to train here and recall is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonogloss.indexes import Manifest, commit_datastore
from sonogloss.transforms.read_captions import ReadCount


@dataclass(frozen=True, kw_only=True)
class DatastoreHead:
    """What the driver knows of a datastore: its CLAP (name, fingerprint, dim), options, licences, kind of index."""

    clap: Mapping[str, Any]
    options: Mapping[str, Any]
    licenses: Mapping[str, str]
    kind: str = "flat"
    vectors: str = "float32"


def build_indexes(
    written: Iterable[Mapping[str, Any]],
    counts: Sequence[ReadCount],
    after: Sequence[object] = (),
    *,
    output: str,
    head: DatastoreHead,
) -> Manifest:
    """Write the manifest, last.

    Args:
        written: what :func:`sonogloss.transforms.write_shards.write_units` returned, in any order.
        counts: what became of the source files' lines; the sums go into the manifest.
        after: what had to be written before; only its being there matters.
        output: the datastore's directory.
        head: what the driver knows.
    """
    written = list(written)
    return commit_datastore(
        output,
        shards=written,
        clap=head.clap,
        options={
            **head.options,
            "counts": sum_lines(counts, sum(entry["count"] for entry in written)),
            "left_out_columns": sorted({name for count in counts for name in count.left_out}),
        },
        licenses=head.licenses,
        kind=head.kind,
        vectors=head.vectors,
    )


def sum_lines(counts: Sequence[ReadCount], kept: int) -> dict[str, int]:
    """Captions by what became of them.

    `read` is the sum of `kept`, `duplicates`, `too_short` and `too_long`; `empty` and `malformed` are others.
    `broken_files` broke off before their end.
    """
    read = sum(count.read for count in counts)
    too_short, too_long = sum(count.too_short for count in counts), sum(count.too_long for count in counts)
    return {
        "read": read,
        "empty": sum(count.empty for count in counts),
        "malformed": sum(count.malformed for count in counts),
        "too_short": too_short,
        "too_long": too_long,
        "duplicates": read - too_short - too_long - kept,
        "kept": kept,
        "broken_files": sum(count.broken for count in counts),
    }
