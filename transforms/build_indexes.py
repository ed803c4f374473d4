"""build_indexes: when every shard is written, its index is trained, filled and measured, and the manifest comes last.

One worker trains on a sample of all shards, then shards are filled by any worker. The exact kind needs none of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSideInput, AsSingleton, PCollection

from sonogloss.clap.device import device_or_cpu
from sonogloss.indexes import Manifest, commit_datastore
from sonogloss.indexes.layout import ALL, FileEntry, to_json
from sonogloss.indexes.make_support import make_support
from sonogloss.indexes.recall import measure
from sonogloss.indexes.train import IndexRequest, add_index, train
from sonogloss.transforms.batch_step import Gather
from sonogloss.transforms.list_dumps import read_head
from sonogloss.transforms.read_captions import ReadCount


@dataclass(frozen=True, kw_only=True)
class DatastoreHead:
    """What the driver knows of a datastore.

    Attributes:
        clap: name, fingerprint and dim of the CLAP, and the digest of its configuration.
        options: of the job.
        licenses: by source.
        vectors: what vectors are stored as.
        index: what is asked of the index.
        queries: embeddings of recordings that its recall is measured with too; a datastore that grows has its own.
        support: `all`, `sample:N`, `kmeans:N` or another datastore.
        base: the manifest of the datastore that captions are added to; its index and its own support stay.
        device: where the centers of a support and of inverted lists are found.
        dumps: where :func:`~sonogloss.transforms.list_dumps.write_dumps` wrote further options and licenses.
    """

    clap: Mapping[str, Any]
    options: Mapping[str, Any]
    licenses: Mapping[str, str]
    vectors: str = "float32"
    index: IndexRequest = field(default_factory=IndexRequest)
    queries: FileEntry | None = None
    support: str = ALL
    base: Manifest | None = None
    device: str = "cpu"
    dumps: str | None = None

    def complete(self) -> DatastoreHead:
        """The same with what is said of the dumps."""
        if self.dumps is None:
            return self
        found = read_head(self.dumps)
        return replace(
            self,
            options={**self.options, **found["options"]},
            licenses={**self.licenses, **found["licenses"]},
            dumps=None,
        )


def build_indexes(
    written: Iterable[Mapping[str, Any]],
    counts: Sequence[ReadCount],
    after: Sequence[object] = (),
    trained: Mapping[str, Any] | None = None,
    *,
    output: str,
    head: DatastoreHead,
) -> Manifest:
    """Write the manifest, last.

    Args:
        written: what :func:`sonogloss.transforms.write_shards.write_units` returned, in any order.
        counts: what became of the source files' lines; the sums go into the manifest.
        after: what had to be written before; only its being there matters.
        trained: what :func:`sonogloss.indexes.train.train` returned.
        output: the datastore's directory.
        head: what the driver knows.
    """
    head = head.complete()
    written = list(written)
    new = sum(entry["count"] for entry in written)
    options = {
        "counts": sum_lines(counts, new),
        "left_out_columns": sorted({name for count in counts for name in count.left_out}),
    }
    if head.base is not None:
        written = [*map(to_json, head.base.shards), *written]
        options = add_options(head.base.options, {**head.options, **options})
    else:
        options = {**head.options, **options}
    index, measured = None, {}
    if trained is not None:
        queries = head.queries if head.base is None else head.base.index.queries
        index, speed = measure(output, written, trained, head.index, dtype=head.vectors, queries=queries)
        measured = {"measured": speed}
    return commit_datastore(
        output,
        shards=written,
        clap=head.clap,
        options={**options, **measured},
        licenses=head.licenses,
        index=index,
        vectors=head.vectors,
        **_support(written, output, head),
    )


def _support(written: Sequence[Mapping[str, Any]], output: str, head: DatastoreHead) -> dict[str, Any]:
    """The arguments of the commit that say what the support is."""
    if head.base is not None and head.base.support.kind != ALL:
        return {"support": [*map(to_json, head.base.support.parts)], "support_kind": head.base.support.kind}
    return {
        "support": make_support(
            output, written, head.support, dtype=head.vectors, clap=head.clap, device=device_or_cpu(head.device)
        ),
        "support_kind": head.support if ":" in head.support else "copy",
    }


def add_options(before: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a datastore that grew: its first ones, the sums of counts, and what each addition was made of."""
    counts = Counter(before.get("counts", {}))
    counts.update(added["counts"])
    return {**before, "counts": dict(counts), "appended": [*before.get("appended", []), dict(added)]}


class BuildIndexes(beam.PTransform[PCollection[Any], PCollection[Manifest]]):
    """Entries of written shards -> the manifest, written last.

    Args:
        counts: one :class:`ReadCount` a source file, all as a side input.
        after: what has to be written before.
        output: the datastore's directory.
        head: what the driver knows.
    """

    def __init__(self, counts: AsSideInput, after: AsSideInput, *, output: str, head: DatastoreHead) -> None:
        super().__init__()
        self._counts, self._after, self._output, self._head = counts, after, output, head

    def expand(self, pcoll: PCollection[Any]) -> PCollection[Manifest]:
        trained = AsSingleton(pcoll | "Train" >> Gather(train_index, output=self._output, head=self._head))
        return (
            pcoll
            | "Fill" >> beam.Map(add_index, trained, directory=self._output, dtype=self._head.vectors)
            | "Commit"
            >> Gather(build_indexes, self._counts, self._after, trained, output=self._output, head=self._head)
        )


def train_index(written: Sequence[Mapping[str, Any]], *, output: str, head: DatastoreHead) -> dict[str, Any] | None:
    """Train the index of the shards; a datastore that grows keeps its own."""
    if head.base is None:
        return train(output, written, head.index, dtype=head.vectors, device=device_or_cpu(head.device))
    index = head.base.index
    if index.trained is None:
        return None
    return {"kind": index.kind, "factory": index.factory, "file": vars(index.trained)}


def sum_lines(counts: Sequence[ReadCount], kept: int) -> dict[str, int]:
    """Captions by what became of them.

    `read` is the sum of `kept`, `duplicates`, `too_short`, `too_long` and `failed`; `empty` and `malformed` are others.
    `broken_files` broke off before their end.
    """
    read = sum(count.read for count in counts)
    lost = {name: sum(getattr(count, name) for count in counts) for name in ("too_short", "too_long", "failed")}
    return {
        "read": read,
        "empty": sum(count.empty for count in counts),
        "malformed": sum(count.malformed for count in counts),
        **lost,
        "duplicates": read - sum(lost.values()) - kept,
        "kept": kept,
        "broken_files": sum(count.broken for count in counts),
    }
