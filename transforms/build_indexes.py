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
        options={**head.options, "counts": sum_lines(counts, sum(entry["count"] for entry in written))},
        licenses=head.licenses,
        kind=head.kind,
        vectors=head.vectors,
    )


def sum_lines(counts: Sequence[ReadCount], kept: int) -> dict[str, int]:
    """Lines by what became of them: `read` is `kept` and `doubles` (duplicates); `empty` and `malformed` are others."""
    read = sum(count.read for count in counts)
    return {
        "read": read,
        "empty": sum(count.empty for count in counts),
        "malformed": sum(count.malformed for count in counts),
        "doubles": read - kept,
        "kept": kept,
    }
