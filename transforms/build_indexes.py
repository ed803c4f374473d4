"""build_indexes: when every shard is written, the manifest makes the directory a datastore.

Every shard carries its own exact index, so there is nothing to train here and recall is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToList

from sonogloss.indexes import Manifest, commit_datastore
from sonogloss.transforms.read_captions import ReadCount


@dataclass(frozen=True, kw_only=True)
class DatastoreHead:
    """What the driver knows of a datastore: its CLAP (name, fingerprint, dim), options, licences, kind of index."""

    clap: Mapping[str, Any]
    options: Mapping[str, Any]
    licenses: Mapping[str, str]
    kind: str = "flat"


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
        written: what :func:`sonogloss.transforms.write_shards.write_embedded` returned, in any order.
        counts: what became of the source files' lines; the sums go into the manifest.
        after: what had to be written before; only its being there matters.
        output: the datastore's directory.
        head: what the driver knows.
    """
    written = list(written)
    return commit_datastore(
        output,
        shards=[entry["shard"] for entry in written],
        support=[entry["support"] for entry in written],
        clap=head.clap,
        options={**head.options, "counts": sum_lines(counts, sum(entry["shard"]["count"] for entry in written))},
        licenses=head.licenses,
        kind=head.kind,
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


class BuildIndexes(beam.PTransform[PCollection[dict[str, Any]], PCollection[Manifest]]):
    """Entries of all shards -> the manifest, see :func:`build_indexes`.

    Args:
        output: the datastore's directory.
        counts: one a source file, a list as a side input.
        head: what the driver knows.
        after: what else must be on disk before the manifest is, as a side input.
    """

    def __init__(
        self, output: str, counts: beam.pvalue.AsList, head: DatastoreHead, *, after: beam.pvalue.AsList
    ) -> None:
        super().__init__()
        self._output, self._counts, self._head, self._after = output, counts, head, after

    def expand(self, pcoll: PCollection[dict[str, Any]]) -> PCollection[Manifest]:
        return (
            pcoll | ToList() | beam.Map(build_indexes, self._counts, self._after, output=self._output, head=self._head)
        )
